"""How far a run has come, for a person: bars on a terminal, a line at each interval elsewhere; on standard error."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from flows.connect.progress import SILENT, RunObserver, Silent
from flows.quantities import counted, number, seconds
from flows.run.run_progress import RunProgress
from flows.terminal import echo, is_terminal

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress

LINE_EVERY_S = 10.0
MOST_SYNC_LINES = 10
"""Routes of a sync that have a line each; of more, those that are furthest behind."""


class SyncDisplay(RunObserver, Protocol):
    """An observer of a sync and of the steps before it."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """Show how far each route has come."""


def display(quiet: bool) -> AbstractContextManager[RunObserver]:
    """Return what suits standard error: nothing when quiet, bars on a terminal, lines otherwise."""
    if quiet:
        return nullcontext(SILENT)
    if not is_terminal():
        return Lines()
    from flows.run.bars import Bars  # A tenth of a second, for a terminal alone.

    return Bars()


def sync_display(quiet: bool) -> AbstractContextManager[SyncDisplay]:
    """Return what shows a sync on standard error unless quiet."""
    if quiet:
        return nullcontext(_NoSyncDisplay())
    if not is_terminal():
        return SyncLines()
    from flows.run.bars import SyncTable  # A tenth of a second, for a terminal alone.

    return SyncTable()


class Lines(RunProgress):
    """A line when a step or a stage begins, one at each interval while entered, and one when a stage has ended."""

    def __init__(self, every_s: float = LINE_EVERY_S) -> None:
        """Print nothing yet."""
        super().__init__()
        self._every_s = every_s
        self._left = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="progress lines", daemon=True)
        self._printing = threading.Lock()
        self._shown = ""
        """What the last line was about."""
        self._ended: set[str] = set()
        """The stages whose last line is printed."""
        self._printed_at = float("-inf")

    def __enter__(self) -> Self:
        self._ticking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()

    def changed(self) -> None:
        """Print a line if another step or stage has begun, or a stage has ended."""
        with self._printing:
            for stage in self.stages():
                if stage.at_end and stage.name not in self._ended:
                    self._ended.add(stage.name)
                    self._print(stage.line(), stage.name)
            step, stage_now = self.step, self.current
            if step is not None and step.name != self._shown:
                self._print(step.line(), step.name)
            elif stage_now is not None and stage_now.name not in (self._shown, *self._ended):
                self._print(stage_now.line(), stage_now.name)

    def said(self, text: str) -> None:
        """Print the text as a line."""
        with self._printing:
            self._print(text, self._shown)

    def lines(self) -> list[str]:
        """Return what there is to say now."""
        step, stage = self.step, self.current
        if step is not None:
            return [step.line()] if step.done < step.routes else []
        return [stage.line()] if stage is not None and not stage.at_end else []

    def _tick(self) -> None:
        while not self._left.wait(self._every_s):
            with self._printing:
                if time.monotonic() - self._printed_at >= self._every_s / 2:
                    for line in self.lines():
                        self._print(line, self._shown)

    def _print(self, line: str, about: str) -> None:
        self._shown = about
        self._printed_at = time.monotonic()
        echo(f"{dt.datetime.now():%H:%M:%S} {line}", err=True)


class SyncLines(Lines):
    """The same for a sync: after the steps, a line for each route at each interval."""

    def __init__(self, every_s: float = LINE_EVERY_S) -> None:
        """Print nothing yet."""
        super().__init__(every_s)
        self._progress: Sequence[RouteProgress] = ()

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """Show the routes from now on, and at once the first time."""
        first = not self._progress
        self._progress = progress
        if first:
            with self._printing:
                for line in self.lines():
                    self._print(line, "sync")

    def lines(self) -> list[str]:
        """Return a line for each route, or for those that are furthest behind."""
        rows = sorted(self._progress, key=lambda row: -row.lag_s)
        if not rows:
            return super().lines()
        shown = rows if len(rows) <= MOST_SYNC_LINES else rows[: MOST_SYNC_LINES - 1]
        lines = [sync_line(row) for row in shown]
        if len(rows) > len(shown):
            lines.append(
                f"sync: {number(len(rows) - len(shown))} more, at most {seconds(rows[len(shown)].lag_s)} behind"
            )
        return lines


def sync_line(row: RouteProgress) -> str:
    """Return how far a route of a sync has come, as a line."""
    ended = f", ended: {row.ended}" if row.ended else ""
    return f"sync {sync_figures(row)}, {number(round(row.rate))}/s{ended}"


def sync_figures(row: RouteProgress) -> str:
    """Return the route's name, what a sync has done to it and how far behind it is."""
    return (
        f"{row.route}: {counted(row.events, 'change')}, {number(row.applied)} copied,"
        f" {number(row.deleted)} deleted, {seconds(row.lag_s)} behind"
    )


class _NoSyncDisplay(Silent):
    """Shows nothing."""

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        pass
