"""Collections of real applications, which lie beside the project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import json_util

_SHARED = Path(__file__).parents[3] / "shared" / "data"

beside_the_project = pytest.mark.skipif(
    not _SHARED.is_dir() and not os.environ.get("CI"), reason="they are not beside the project"
)
"""For a test of them; in CI they must be there."""


def documents_of(file: str) -> list[dict[str, Any]]:
    """Return the documents of a file, in BSON or a JSON document a line."""
    content = (_SHARED / file).read_bytes()
    if file.endswith(".bson"):
        return bson.decode_all(content)
    return [json_util.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()]
