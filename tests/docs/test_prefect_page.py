"""The page about Prefect says what a plan is, and starts no server that any user of the machine could use."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "prefect.md").read_text("utf-8")


def test_a_plan_is_said_to_be_code() -> None:
    assert "**A plan is code.**" in PAGE


def test_each_server_that_is_started_asks_for_a_password() -> None:
    blocks = re.findall(r"(?:^ {4}\S.*\n)+", PAGE, re.MULTILINE)
    starting = [block for block in blocks if "prefect server start" in block]
    assert len(starting) == 1
    assert all("export PREFECT_SERVER_API_AUTH_STRING=" in block for block in starting)
