"""Tables on a real terminal of 80 columns: none of their lines is wrapped, and a pipe gets them whole."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from plans import RUN_LIMIT_S, Stores, offramp, write_plan
from pymongo.database import Database

WIDTH = 80
Documents = Database[dict[str, Any]]


def on_terminal(*arguments: str | Path, folder: Path) -> list[str]:
    """Return the lines that a command prints to a terminal."""
    ours, its_own = os.openpty()
    fcntl.ioctl(its_own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "flows.cli.main", *map(str, arguments)]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=its_own, stderr=subprocess.PIPE) as running:
        os.close(its_own)
        printed = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # Linux says so that nobody writes to the terminal any more.
                break
            if not part:
                break
            printed += part
        _, err = running.communicate(timeout=RUN_LIMIT_S)
    os.close(ours)
    assert running.returncode == 0, err.decode()
    return printed.decode().splitlines()


@pytest.mark.process
def test_tables_fit_a_terminal_of_80_columns(stores: Stores, database: Documents, unique: str, tmp_path: Path) -> None:
    names = [f"a_route_with_a_long_name_{number}" for number in range(3)]
    for name in names:
        database[name].insert_many([{"_id": number} for number in range(1_200)])
    routes = {name: {"use_case": "session", "key": f"{unique}:{name}:{{_id}}"} for name in names}
    plan = write_plan(tmp_path, stores, database.name, routes)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    for command in ("status", "check", "report"):
        whole = offramp(command, plan, folder=tmp_path).out.splitlines()
        assert max(map(len, whole)) > WIDTH
        shown = on_terminal(command, plan, folder=tmp_path)
        table = [line for line in shown if any(name in line for name in names) or "documents" in line]
        assert {name for name in names if any(name in line for line in table)} == {*names}
        wide = [line for line in table if len(line) > WIDTH and not line.startswith(tuple(f"{n}: " for n in names))]
        assert wide == []
