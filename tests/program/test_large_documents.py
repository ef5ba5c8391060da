"""Documents of 10 MB: what a run has in memory is bounded over all routes of its process, not for each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plans import RUN_LIMIT_S, Stores, write_plan
from pymongo.database import Database

_MEASURE = Path(__file__).parents[2] / "benchmarks" / "measure_command.py"
DOCUMENT_BYTES = 10_000_000
ROUTES = 4


def peak_bytes(command: str, plan: Path) -> int:
    """Return the most memory that a command had, which ends with 0."""
    program = [sys.executable, "-m", "flows.cli.main", command, str(plan)]
    measure = [sys.executable, "-I", "-S", str(_MEASURE), *program]
    done = subprocess.run(measure, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["exit_code"] == 0, done.stderr
    return int(measured["peak_mb"] * (1 << 20))


@pytest.mark.process
def test_routes_do_not_have_their_large_documents_in_memory_side_by_side(
    stores: Stores, database: Database[dict[str, Any]], tmp_path: Path, unique: str
) -> None:
    for route in range(ROUTES):
        for number in range(3):
            database[f"large{route}"].insert_one({"_id": number, "text": f"{number:09} " * (DOCUMENT_BYTES // 10)})
    routes = {
        f"large{route}": {"target": "redis", "mapper": "string", "key": f"{unique}:{route}:{{_id}}"}
        for route in range(ROUTES)
    }
    plan = write_plan(tmp_path, stores, database.name, routes)
    # A check has one document at a time in memory, in several forms; a backfill writes and verifies them as well.
    assert peak_bytes("backfill", plan) < peak_bytes("check", plan) + 12 * DOCUMENT_BYTES
