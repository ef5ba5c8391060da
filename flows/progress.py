"""How far a run has come, for a person: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.jobs import SILENT, Observer

_LINE_EVERY_S = 10.0


class Display(Observer, Protocol):
    """An observer that shows something while it is entered."""

    def __enter__(self) -> Observer:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it should stay."""


def display(quiet: bool) -> Display:
    """Return what suits standard error: nothing when quiet, bars on a terminal, lines otherwise."""
    if quiet:
        return _Nothing()
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Nothing:
    """Shows nothing."""

    def __enter__(self) -> Observer:
        return SILENT

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    began = SILENT.began
    advanced = SILENT.advanced
    ended = SILENT.ended


class _Rate(ProgressColumn):
    """Documents a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class _Bars:
    """A bar for each route and stage; partitions of a route share theirs."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[tuple[str, str], object] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Observer:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def began(self, route: str, stage: str, documents: int) -> None:
        with self._lock:
            if (route, stage) not in self._tasks:
                self._tasks[route, stage] = self._progress.add_task(f"{stage} {route}", total=documents or None)

    def advanced(self, route: str, stage: str, documents: int) -> None:
        self._progress.advance(self._tasks[route, stage], documents)  # type: ignore[arg-type]

    def ended(self, route: str, stage: str) -> None:
        pass


class _Lines:
    """A line when a stage begins, every ten seconds, and none per document."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str], int] = {}
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def began(self, route: str, stage: str, documents: int) -> None:
        with self._lock:
            if (route, stage) not in self._done:
                self._done[route, stage] = 0
                self._say(f"{stage} {route}: about {documents} documents")

    def advanced(self, route: str, stage: str, documents: int) -> None:
        with self._lock:
            self._done[route, stage] += documents
            if time.monotonic() - self._said >= _LINE_EVERY_S:
                self._said = time.monotonic()
                self._say(
                    ", ".join(f"{stage} {route}: {done} documents" for (route, stage), done in self._done.items())
                )

    def ended(self, route: str, stage: str) -> None:
        pass

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress is for the person at the terminal
