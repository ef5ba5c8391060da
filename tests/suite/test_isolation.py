"""The guard that holds each test to its markers."""

from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress

import pytest
from isolation import GUARD, UndeclaredUse


def connects() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


def starts_a_program() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def starts_python() -> None:
    multiprocessing.get_context("spawn").Process(target=print).start()


@pytest.mark.parametrize("use", [connects, starts_a_program, starts_python])
def test_what_the_markers_do_not_allow_is_refused(use: Callable[[], None]) -> None:
    with pytest.raises(UndeclaredUse), GUARD.holding(connects=False, starts=False):
        use()


@pytest.mark.parametrize("use", [connects, starts_a_program, starts_python])
def test_a_program_that_handles_the_refusal_fails_the_test_all_the_same(use: Callable[[], None]) -> None:
    with pytest.raises(pytest.fail.Exception), GUARD.holding(connects=False, starts=False), suppress(UndeclaredUse):
        use()


def test_a_listener_of_the_test_itself_is_no_server() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        GUARD.holding(connects=False, starts=False),
        socket.create_connection(listener.getsockname()),
    ):
        pass


@pytest.mark.parametrize("earlier", [True, False])
def test_a_thread_of_an_earlier_test_is_not_the_running_one_s(earlier: bool) -> None:
    go = threading.Event()
    refused: list[BaseException] = []

    def connect_later() -> None:
        go.wait(10)
        with suppress(ConnectionRefusedError):
            try:
                connects()
            except UndeclaredUse as refusal:
                refused.append(refusal)

    thread = threading.Thread(target=connect_later)
    if earlier:
        thread.start()
    GUARD.begin()
    with (
        nullcontext() if earlier else pytest.raises(pytest.fail.Exception),
        GUARD.holding(connects=False, starts=False),
    ):
        if not earlier:
            thread.start()
        go.set()
        thread.join(10)
    assert len(refused) == (not earlier)


@pytest.fixture
def of_a_server(starts_server: None) -> None:
    pass


@pytest.fixture
def of_a_process(starts_process: None) -> None:
    pass


@pytest.fixture
def behind(of_a_server: None) -> None:
    pass


def marks(request: pytest.FixtureRequest) -> set[str]:
    return {mark.name for mark in request.node.iter_markers()}


def test_a_test_is_marked_by_the_fixtures_behind_its_fixtures(behind: None, request: pytest.FixtureRequest) -> None:
    assert marks(request) == {"server"}


def test_a_fixture_that_starts_a_process_marks_its_tests(of_a_process: None, request: pytest.FixtureRequest) -> None:
    assert marks(request) == {"process"}


def test_a_test_of_neither_has_no_marker(request: pytest.FixtureRequest) -> None:
    assert marks(request) == set()
