"""How far a run has come, for a person: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from flows.connect.progress import SILENT, RunObserver, Silent
from flows.terminal import echo, is_terminal

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress

_LINE_EVERY_S = 10.0


class Display(RunObserver, Protocol):
    """An observer that shows something while it is entered."""

    def __enter__(self) -> RunObserver:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it should stay."""


def display(quiet: bool) -> Display:
    """Return what suits standard error: nothing when quiet, bars on a terminal, lines otherwise."""
    if quiet:
        return _NoDisplay()
    if not is_terminal():
        return _Lines()
    from flows.run.bars import Bars  # A tenth of a second, for a terminal alone.

    return Bars()


class SyncDisplay(RunObserver, Protocol):
    """An observer of a sync and of the steps before it."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """Show how far each route has come."""


@contextmanager
def sync_display(quiet: bool) -> Iterator[SyncDisplay]:
    """Give an observer of a sync, which shows it on standard error unless quiet."""
    if quiet:
        yield _NoSyncDisplay()
    elif is_terminal():
        from flows.run.bars import SyncTable  # A tenth of a second, for a terminal alone.

        with SyncTable() as table:
            yield table
    else:
        yield _SyncLines()


class _NoDisplay:
    """Shows nothing."""

    def __enter__(self) -> RunObserver:
        return SILENT

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    stepped = SILENT.stepped
    planned = SILENT.planned
    began = SILENT.began
    advanced = SILENT.advanced
    ended = SILENT.ended


class _Lines:
    """A line when a stage begins, every ten seconds, and none per document."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str], int] = {}
        self._step = ""
        self._printed_at = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> RunObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def stepped(self, step: str, done: int, routes: int, route: str) -> None:
        with self._lock:
            if route and (step != self._step or time.monotonic() - self._printed_at >= _LINE_EVERY_S):
                self._step = step
                self._printed_at = time.monotonic()
                self._print(f"{step}: route {done + 1} of {routes}, {route}")

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        pass

    def began(self, route: str, stage: str, documents: int) -> None:
        with self._lock:
            if (route, stage) not in self._done:
                self._done[route, stage] = 0
                self._print(f"{stage} {route}: about {documents} documents")

    def advanced(self, route: str, stage: str, documents: int) -> None:
        with self._lock:
            self._done[route, stage] += documents
            if time.monotonic() - self._printed_at >= _LINE_EVERY_S:
                self._printed_at = time.monotonic()
                self._print(
                    ", ".join(f"{stage} {route}: {done} documents" for (route, stage), done in self._done.items())
                )

    def ended(self, route: str, stage: str) -> None:
        pass

    def _print(self, line: str) -> None:
        echo(line, err=True)


class _NoSyncDisplay(Silent):
    """Shows nothing."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        pass


class _SyncLines(_Lines):
    """A line for each route every ten seconds."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        if time.monotonic() - self._printed_at < _LINE_EVERY_S:
            return
        self._printed_at = time.monotonic()
        for row in progress:
            self._print(
                f"sync {row.route}: {row.events} changes, {row.applied} copied, {row.deleted} deleted,"
                f" {row.lag_s:.1f} s behind, {row.rate:.0f}/s{', ended' if row.ended else ''}"
            )
