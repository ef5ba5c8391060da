"""How far a run has come: percent that are 100 where all is done and only there, rates, and the time that is left."""

from __future__ import annotations

import sys

import pytest

from flows.run.run_progress import RunProgress, Stage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> RunProgress:
    return RunProgress(clock)


def stage(progress: RunProgress) -> Stage:
    current = progress.current
    assert current is not None
    return current


def test_a_route_that_filters_ends_at_100_percent(progress: RunProgress) -> None:
    progress.planned("orders", "copy", 1, 1_500)
    progress.began("orders", "copy", 1_500)
    progress.advanced("orders", "copy", 755)
    assert (stage(progress).percent, stage(progress).amount) == (50, "755 of ~1 500")
    progress.ended("orders", "copy", True)
    assert (stage(progress).percent, stage(progress).amount, stage(progress).at_end) == (100, "755", True)


def test_more_documents_than_were_expected_are_no_more_than_99_percent_before_the_end(progress: RunProgress) -> None:
    progress.planned("orders", "copy", 1, 2_999)
    progress.began("orders", "copy", 2_999)
    progress.advanced("orders", "copy", 3_000)
    assert (stage(progress).percent, stage(progress).amount) == (99, "3 000")
    progress.ended("orders", "copy", True)
    assert stage(progress).percent == 100


@pytest.mark.parametrize(("jobs", "complete"), [(2, True), (1, False)])
def test_what_is_not_done_to_its_end_is_never_100_percent(progress: RunProgress, jobs: int, complete: bool) -> None:
    progress.planned("orders", "copy", jobs, 10)
    progress.began("orders", "copy", 10)
    progress.advanced("orders", "copy", 10)
    progress.ended("orders", "copy", complete)
    assert (stage(progress).percent, stage(progress).at_end, stage(progress).routes_at_end) == (99, False, 0)


def test_the_total_is_of_all_routes_and_the_rate_of_the_last_seconds(progress: RunProgress, clock: Clock) -> None:
    for route in ("orders", "users"):
        progress.planned(route, "copy", 1, 10_000)
    progress.began("orders", "copy", 10_000)
    assert stage(progress).left_s is None
    progress.advanced("orders", "copy", 1_000)
    clock.now += 10
    slow = stage(progress)
    assert (slow.percent, slow.rate, slow.left_s) == (5, 100.0, 190.0)
    assert slow.line() == (
        "copy 5 %: 1 000 of ~20 000 documents, 100/s, 3 min 10 s left; 0 of 2 routes done, 1 to come; at work: orders"
    )
    clock.now += 30
    stage(progress)
    progress.advanced("orders", "copy", 4_000)
    clock.now += 10
    assert stage(progress).rate == 100.0  # 4,000 documents in the last 40 seconds.


def test_a_stage_that_is_done_says_how_long_it_took(progress: RunProgress, clock: Clock) -> None:
    progress.planned("orders", "copy", 1, 10)
    progress.began("orders", "copy", 10)
    progress.advanced("orders", "copy", 10)
    clock.now += 4
    progress.ended("orders", "copy", True)
    assert stage(progress).line() == "copy 100 %: 10 documents, 2/s, in 4.0 s"
    clock.now += 60
    assert stage(progress).elapsed_s == 4.0


def test_of_many_routes_at_work_a_few_are_named(progress: RunProgress) -> None:
    for number in range(20):
        progress.planned(f"r{number}", "verify", 1, 10)
        progress.began(f"r{number}", "verify", 10)
    assert stage(progress).line().endswith("; at work: r0, r1, r2, r3, r4 and 15 more")


def test_what_nobody_planned_is_expected_from_its_jobs(progress: RunProgress) -> None:
    progress.began("orders", "load", 50)
    progress.advanced("orders", "load", 20)
    assert stage(progress).line().startswith("load 40 %: 20 of ~50 records")


def test_a_step_is_at_hand_until_a_stage_is(progress: RunProgress) -> None:
    progress.stepped("checking", 0, 200, ["orders"])
    assert progress.step is not None
    assert progress.step.line() == "checking: 0 of 200 routes; at work: orders"
    progress.stepped("checking", 11, 200, [f"r{number}" for number in range(16)])
    assert progress.step.line() == "checking: 11 of 200 routes; at work: r0, r1, r2, r3, r4 and 11 more"
    progress.stepped("checking", 0, 1, ["orders"])
    assert progress.step.line() == "checking: orders"
    progress.planned("orders", "copy", 1, 10)
    assert progress.step is None


def test_a_route_that_was_cut_short_is_no_more_to_come_and_its_rest_no_more_to_wait_for(progress: RunProgress) -> None:
    for route in ("orders", "users"):
        progress.planned(route, "copy", 1, 1_000)
    progress.began("orders", "copy", 1_000)
    progress.advanced("orders", "copy", 100)
    progress.ended("orders", "copy", False)
    assert (stage(progress).total, stage(progress).percent) == (1_100, 9)
    assert stage(progress).routes_text == "0 of 2 routes done, 1 stopped or failed, 1 to come"


def calls_of_an_event(routes: int) -> int:
    """Return how many functions run for a route that ends and the figures after it, among so many routes."""
    progress = RunProgress()
    for number in range(routes):
        progress.planned(f"r{number}", "copy", 1, 10)
    progress.began("r0", "copy", 10)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        progress.ended("r0", "copy", True)
        progress.stages()
    finally:
        sys.setprofile(None)
    return calls


def test_an_event_costs_the_same_among_many_routes_as_among_few() -> None:
    assert calls_of_an_event(1_000) == calls_of_an_event(10)
