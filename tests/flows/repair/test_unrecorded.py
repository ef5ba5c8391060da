"""A repair knows that a verification found more than the state keeps, until another full verification tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import reports

from flows.repair.repair import Repaired, is_left
from flows.repair.unrecorded import unrecorded
from flows.reporting.model import RouteReport, Swept
from stores.state.state import State
from stores.state.verification import MOST_FINDINGS


def ran(state: State, command: str, *rows: RouteReport) -> None:
    began = state.runs.begin(command, "host/1 x")
    state.runs.end(began, replace(reports.whole(*rows), command=command).as_bytes())


def full(**found: Any) -> RouteReport:
    return reports.row("r", verified="full", **found)


def test_what_the_last_full_verification_found_beyond_the_room_is_known(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path}/state.db", "shop")
    assert unrecorded(state, ["r"]) == {"r": 0}
    ran(state, "verify", full(missing=MOST_FINDINGS - 1, differs=1, extra=0, collides=0))
    assert unrecorded(state, ["r"]) == {"r": 0}
    ran(state, "verify", full(missing=MOST_FINDINGS, differs=20, extra=None, collides=3))
    assert unrecorded(state, ["r"]) == {"r": 23}
    # Neither other routes, nor a sample, nor a run without an end is news of it.
    ran(state, "verify", reports.row("other", verified="full"))
    ran(state, "verify", reports.row("r", verified="sample"))
    state.runs.begin("verify", "host/1 x")
    assert unrecorded(state, ["r", "other"]) == {"r": 23, "other": 0}
    ran(state, "verify", full(missing=0, differs=0, extra=0, collides=0))
    assert unrecorded(state, ["r"]) == {"r": 0}


def test_a_copy_from_the_beginning_leaves_nothing_unrecorded(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path}/state.db", "shop")
    ran(state, "verify", full(missing=MOST_FINDINGS + 1))
    ran(state, "backfill", reports.row("r", verified="none"))
    assert unrecorded(state, ["r"]) == {"r": 1}
    ran(state, "backfill", reports.row("r", verified="none", swept=Swept(0, 0)))
    assert unrecorded(state, ["r"]) == {"r": 0}


def test_what_is_not_recorded_is_left() -> None:
    assert is_left([Repaired("r", {}, unrecorded=1)], ["missing"])
    assert not is_left([Repaired("r", {})], ["missing"])
