"""Scratch keys that a server does not let go are told on the terminal and in every form of the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from plans import Stores, offramp_process, write_plan
from pymongo.database import Database
from redis import Redis


def test_scratch_keys_that_stay_are_on_the_terminal_and_in_the_report(
    stores: Stores,
    database: Database[dict[str, Any]],
    redis_server: Callable[..., str],
    unique: str,
    tmp_path: Path,
) -> None:
    url = redis_server("--appendonly", "no", "--maxmemory", "200mb", "--maxmemory-policy", "noeviction")
    database.things.insert_many([{"_id": number} for number in range(5)])
    with Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">hidden-1f", "~*", "&*", "+@all", "-unlink", "-del")
        route = {"use_case": "cache", "key": f"{unique}:{{_id}}"}
        reached = replace(stores, redis=url.replace("//", "//shop:hidden-1f@"))
        path = write_plan(tmp_path, reached, database.name, {"things": route})
        done = offramp_process("backfill", path, "--verify", "none", folder=tmp_path)
        left = sorted(key.decode() for key in client.scan_iter("offramp:*"))
        assert done.code == 0, done.out + done.err
        assert len(left) == 5
        assert all(0 < client.pttl(key) <= 600_000 for key in left)
    told = f"W-RDS-SCRATCH 5 scratch keys that begin with {left[0][: len('offramp:12345678:')]} stay in "
    assert told in done.err  # While it runs, and in the report at its end.
    assert f"things: {told}" in done.out
    folder = tmp_path / ".offramp" / "reports" / path.stem
    (warning,) = json.loads((folder / "report.json").read_text())["routes"][0]["warnings"]
    assert warning.startswith(told)
    assert "NOPERM" in warning
    assert warning in (folder / "report.html").read_text()
    assert "W-RDS-SCRATCH" in (folder / "report.md").read_text()
    assert "hidden-1f" not in done.out + done.err + warning
