"""A step of many routes: side by side, bounded, by itself each, and none begun once the work is to end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.connect.route_steps import take_step
from flows.plan.load import load
from flows.plan.model import Route
from stores.contract.stop import STOPPED
from stores.errors import OfframpError, PlanError, TransientError


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    lines = [f"  r{number:02}: {{use_case: session, key: 'r{number:02}:{{_id}}'}}" for number in range(20)]
    plan.write_text(
        "source: {uri: 'mongodb://127.0.0.1:1/', database: d}\ntargets: {redis: {url: 'redis://127.0.0.1:1/0'}}\n"
        + "\n".join(["routes:", *lines]),
        encoding="utf-8",
    )
    return list(load(Path(plan)).routes.values())


def test_each_route_has_its_own_outcome_in_the_order_of_the_routes(routes: list[Route]) -> None:
    away, wrong = TransientError("E-AWAY", "away"), PlanError("E-WRONG", "wrong")

    def work(route: Route) -> str:
        if route.name in ("r03", "r05"):
            raise away if route.name == "r03" else wrong
        return route.name

    outcomes = take_step("looking", routes, work)
    assert list(outcomes) == [route.name for route in routes]
    assert (outcomes["r03"], outcomes["r05"], outcomes["r19"]) == (away, wrong, "r19")


def test_so_many_at_once_and_no_more(routes: list[Route]) -> None:
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(4)

    def work(_: Route) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(20)
        with lock:
            running -= 1

    take_step("looking", routes, work, at_once=4)
    assert most == 4


def test_each_beginning_and_each_end_is_shown(routes: list[Route]) -> None:
    shown: list[tuple[str, int, int, Sequence[str]]] = []
    take_step("looking", routes[:2], lambda _: None, observer=lambda *step: shown.append(step), at_once=1)
    assert shown == [
        ("looking", 0, 2, ["r00"]),
        ("looking", 1, 2, []),
        ("looking", 1, 2, ["r01"]),
        ("looking", 2, 2, []),
    ]


def test_the_routes_that_are_waited_for_are_shown_and_not_those_that_have_ended(routes: list[Route]) -> None:
    slow = threading.Event()
    shown: list[Sequence[str]] = []

    def observer(_step: str, done: int, _routes: int, at_work: Sequence[str]) -> None:
        shown.append(at_work)
        if done == 2:
            slow.set()

    take_step("looking", routes[:3], lambda route: route.name == "r00" and slow.wait(20), observer=observer)
    assert shown[2:] == [["r00", "r01", "r02"], shown[3], ["r00"], []]


def test_once_stopped_no_route_begins_and_those_under_way_are_waited_for(routes: list[Route]) -> None:
    stop, begun, ended = threading.Event(), list[str](), list[str]()

    def work(route: Route) -> str:
        begun.append(route.name)
        stop.set()
        threading.Event().wait(0.3)
        ended.append(route.name)
        return route.name

    outcomes = take_step("preparing", routes, work, stop=stop, at_once=3)
    assert begun == ended
    assert len(begun) <= 3
    for route in routes:
        outcome = outcomes[route.name]
        if route.name not in begun:
            assert isinstance(outcome, OfframpError)
            assert outcome.code == STOPPED
            assert outcome.message == "stopped by a signal while preparing; the same command resumes"


def test_work_that_changes_nothing_is_left_to_itself(routes: list[Route]) -> None:
    stop, never = threading.Event(), threading.Event()

    def work(_: Route) -> None:
        stop.set()
        never.wait()

    outcomes = take_step("checking", routes, work, stop=stop, abandons=True, at_once=2)
    never.set()
    assert {outcome.code for outcome in outcomes.values() if outcome is not None} == {STOPPED}


def test_any_other_exception_is_raised_when_nothing_is_under_way_any_more(routes: list[Route]) -> None:
    under_way, failed = list[str](), threading.Event()

    def work(route: Route) -> None:
        under_way.append(route.name)
        if route.name == "r01":
            failed.set()
            raise ZeroDivisionError
        assert failed.wait(20)
        threading.Event().wait(0.2)
        under_way.remove(route.name)

    with pytest.raises(ZeroDivisionError):
        take_step("preparing", routes, work, at_once=2)
    assert under_way == ["r01"]
