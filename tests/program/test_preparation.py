"""What a person sees while a command prepares: from its first request on, on the terminal and in `status`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from plans import Stores, offramp, start, write_plan
from silent_relay import SilentRelay, silent_relay

SEEN_WITHIN_S = 60


@pytest.fixture
def relay(mongodb_url: str) -> Iterator[tuple[str, SilentRelay]]:
    with silent_relay(mongodb_url) as opened:
        yield opened


@pytest.mark.process
@pytest.mark.parametrize("command", ["check", "backfill", "verify", "sync", "repair"])
def test_a_command_says_what_it_waits_for_before_its_first_answer(
    command: str, relay: tuple[str, SilentRelay], stores: Stores, unique: str, tmp_path: Path
) -> None:
    routes = {name: {"use_case": "session", "key": f"{unique}:{name}:{{_id}}"} for name in ("orders", "users")}
    source = {"uri": relay[0], "database": unique, "retry_deadline_s": 10}
    plan = write_plan(tmp_path, stores, unique, routes, source=source)
    relay[1].silence()
    running = start(command, plan, folder=tmp_path)
    try:
        assert relay[1].withheld.wait(SEEN_WITHIN_S)
        assert running.stderr is not None
        first = "asking the source: 0 of 2 routes" if command == "check" else "checking: 0 of 2 routes; at work: orders"
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {first}\n", running.stderr.readline())
        if command != "check":
            shown = offramp("status", plan, "--json", folder=tmp_path).json["routes"]
            assert (shown[0]["stage"], shown[0]["step"]) == ("preparing", "checking")
            assert "preparing: checking" in offramp("status", plan, folder=tmp_path).out
    finally:
        running.kill()
        running.communicate()
    after = offramp("status", plan, "--json", folder=tmp_path).json["routes"]
    assert {(row["stage"], row["step"]) for row in after} == {("not begun", "")}
