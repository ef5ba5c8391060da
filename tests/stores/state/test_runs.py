"""The runs of a plan stay on record, whatever else is forgotten."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.state.database import State
from stores.state.runs import KEPT, Runs


def test_a_run_is_on_record_from_its_begin_and_outlives_a_restart(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "shop")
    runs = Runs(state, "shop")
    runs.began("backfill", "2026-01-01T00:00:00.000001+00:00")
    runs.began("verify", "2026-01-02T00:00:00.000001+00:00")
    runs.ended("2026-01-01T00:00:00.000001+00:00", b'{"odd": "\\udc80"}')
    Runs(state, "other").began("backfill", "2026-01-03T00:00:00.000001+00:00")
    lease = state.acquire("orders")
    state.begin(lease, {}, "", "", [Partition(0)])
    state.forget(lease)
    kept = runs.kept()
    assert [(run.command, run.report) for run in kept] == [("verify", None), ("backfill", b'{"odd": "\\udc80"}')]
    assert [run.digest for run in kept] == ["", sha256(b'{"odd": "\\udc80"}').hexdigest()]
    state.close()


def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "shop")
    runs = Runs(state, "shop")
    for number in range(KEPT + 5):
        runs.began("verify", f"2026-01-01T00:00:00.{number:06d}+00:00")
    assert [run.began[-10:-6] for run in runs.kept()] == [f"{number:04d}" for number in range(KEPT + 4, 4, -1)]
    state.close()


def test_rejects_are_counted_by_code(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "shop")
    lease = state.acquire("orders")
    state.begin(lease, {}, "", "", [Partition(0)])
    rejects = [Reject(f"n:{number}", "map", "E-B" if number else "E-A", "", "why") for number in range(3)]
    state.checkpoint(lease, 0, b"", Tally(), rejects)
    assert Runs(state, "shop").reject_codes("orders") == {"E-A": 1, "E-B": 2}
    assert Runs(state, "shop").reject_codes("users") == {}
    state.close()
