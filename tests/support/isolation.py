"""Markers that say what a test needs, and the guard that holds tests to them.

A test that uses a real server is marked `server`, a test that starts a process `process`. The quick set is what has
neither marker. A server is a process: a thread of the test that answers is none.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import pytest

_STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})


class UndeclaredUse(Exception):
    """A test reached for a server or a process without the marker for it."""


def mark(items: Sequence[pytest.Item]) -> None:
    """Mark each test by the fixtures that it uses, directly or through another fixture.

    A fixture that starts a server asks for `starts_server`, one that starts another process for `starts_process`.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for marker in ("server", "process"):
            if f"starts_{marker}" in fixtures:
                item.add_marker(marker)


class Guard:
    """Refuses what the markers of the running test do not allow, and remembers it for the test's end.

    The exception alone would not do: a program that retries a lost connection handles it. A thread that an earlier
    test left behind, as a client does that sends its events later, is not the running test's.
    """

    def __init__(self) -> None:
        self._connects = True
        self._starts = True
        self._refused: list[str] = []
        self._earlier: set[int] = set()
        sys.addaudithook(self._audit)
        # Multiprocessing starts its processes without an audit event.
        start = BaseProcess.start

        def audited_start(process: BaseProcess) -> None:
            self._audit("os.fork", (process.name,))
            start(process)

        setattr(BaseProcess, "start", audited_start)  # noqa: B010 - mypy takes it for a method of two selves

    def begin(self) -> None:
        """From now on a test runs, to which the other threads of this moment do not belong."""
        self._earlier = {thread.ident or 0 for thread in threading.enumerate()} - {threading.get_ident()}

    @contextmanager
    def holding(self, *, connects: bool, starts: bool) -> Iterator[None]:
        """Fail the test at the end of the block if it connected to a server, or started a process, without leave."""
        before = self._connects, self._starts, self._refused
        self._connects, self._starts, self._refused = connects, starts, []
        try:
            yield
            refused = self._refused
        finally:
            self._connects, self._starts, self._refused = before
        if refused:
            pytest.fail(refused[0], pytrace=False)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() in self._earlier:
            return
        if event == "socket.connect":
            if not self._connects and _leaves_the_process(arguments[1]):
                self._refuse(f"it connects to {arguments[1]}: use the server's fixture, which asks for `starts_server`")
        elif event in _STARTS and not self._starts:
            self._refuse(f"it starts a process ({event}: {arguments[0]}): mark it `process`")

    def _refuse(self, what: str) -> None:
        self._refused.append(what)
        raise UndeclaredUse(what)


def _leaves_the_process(address: object) -> bool:
    """Return whether the address is none at which this process itself listens."""
    if not isinstance(address, tuple):  # A Unix socket's path, or what a library does with a family of its own.
        return True
    listening = {
        connection.laddr.port
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    return address[1] not in listening


GUARD = Guard()
"""The one of this process: an audit hook cannot be taken away again."""
