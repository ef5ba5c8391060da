"""Bars on a terminal for how far a run has come."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows.connect.progress import Observer
from flows.terminal import unguarded_stderr
from flows.visible_text import visible

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress, SyncObserver


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
        self._lock = threading.Lock()

    def __enter__(self) -> Observer:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

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


@contextmanager
def sync_table() -> Iterator[SyncObserver]:
    """Give an observer of a sync, which shows a table on the terminal while the body lasts."""
    with Live(console=_console(), refresh_per_second=4) as live:
        yield lambda progress: live.update(_table(progress))


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
