"""Bars on a terminal for how far a run has come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from flows.connect.progress import RunObserver, Silent
from flows.terminal import unguarded_stderr
from flows.visible_text import visible

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress


class _Rate(ProgressColumn):
    """Documents a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class Bars:
    """A bar for each route and stage; partitions of a route share theirs."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=_console(),
        )
        self._tasks: dict[tuple[str, str], object] = {}
        self._steps: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> RunObserver:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stepped(self, step: str, done: int, routes: int, route: str) -> None:
        """The bar of the step has grown; it is gone once all routes have taken the step."""
        with self._lock:
            task = self._steps.get(step)
            if task is None:
                task = self._steps[step] = self._progress.add_task(step, total=routes)
            name = visible(f"{step} {route}") if route else step
            self._progress.update(task, completed=done, description=name, visible=done < routes)

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        """Nothing is drawn before a job begins."""

    def began(self, route: str, stage: str, documents: int) -> None:
        """A bar is drawn, if the route has none for the stage."""
        with self._lock:
            if (route, stage) not in self._tasks:
                self._tasks[route, stage] = self._progress.add_task(
                    visible(f"{stage} {route}"), total=documents or None
                )

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """The bar has grown."""
        self._progress.advance(self._tasks[route, stage], documents)  # type: ignore[arg-type]

    def ended(self, route: str, stage: str) -> None:
        """The bar stays as it is."""


class SyncTable(Silent):
    """A table of a sync on the terminal while it is entered; before its first row, the step that the routes take."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._live = Live(console=_console(), refresh_per_second=4)

    def __enter__(self) -> SyncTable:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def stepped(self, step: str, done: int, routes: int, route: str) -> None:
        """The step takes the place of the table."""
        self._live.update(_text(f"{step}: {done} of {routes} routes {route}"))

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """The table is drawn anew."""
        self._live.update(_table(progress))


def _console() -> Console:
    """Return the terminal itself. Each text of a name that is drawn on it is made visible here, and is no markup."""
    return Console(file=unguarded_stderr())


def _text(words: str) -> Text:
    return Text(visible(words))


def _table(progress: Sequence[RouteProgress]) -> Table:
    table = Table("route", "changes", "copied", "deleted", "behind", "rate", "source keeps", box=None)
    for row in progress:
        window = "" if row.window_s is None else f"{row.window_s / 3600:.1f} h"
        table.add_row(
            *(_text(row.route), str(row.events), str(row.applied), str(row.deleted)),
            *(_text(row.ended) if row.ended else f"{row.lag_s:.1f} s", f"{row.rate:.0f}/s", window),
        )
    return table
