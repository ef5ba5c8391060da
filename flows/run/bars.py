"""Bars on a terminal for how far a run has come; they adapt to its width and height."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.connect.progress import Silent
from flows.quantities import counted, named, number, seconds
from flows.run.run_progress import RouteStage, RunProgress, Stage, Step
from flows.terminal import drawing, stdout_width, unguarded_stderr
from flows.visible_text import visible

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress

_MOST_ROUTES = 12
_LEAST_ROUTES = 3
_OTHER_LINES = 8
"""Lines of a terminal for anything but routes."""
_NAME_WIDTH = 24
_FIGURES_WIDTH = 26


class _Shown:
    """What is on the terminal while it is entered."""

    def __init__(self, console: Console | None) -> None:
        """Draw nothing yet."""
        self._console = console or _console()
        # What goes to a file is none of the terminal's.
        to_file = stdout_width() is None
        self._live = Live(
            get_renderable=self.render, console=self._console, refresh_per_second=4, redirect_stdout=not to_file
        )
        self._drawing = drawing(self._live.start, self._live.stop)

    def __enter__(self) -> Self:
        self._drawing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.__exit__(kind, error, trace)

    def render(self) -> RenderableType:
        """Return what is drawn now."""
        raise NotImplementedError


class Bars(_Shown, RunProgress):
    """Lines for the step at hand, each stage with the routes at work on it, and how many are done."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Draw nothing yet; the clock is in seconds."""
        RunProgress.__init__(self, clock)
        _Shown.__init__(self, console)

    def render(self) -> RenderableType:
        """Return what is drawn now."""
        parts: list[RenderableType] = []
        current = self.current
        grid = _grid(self._console)
        for stage in self.stages():
            if current is None or stage.name != current.name:
                figures = f"{number(stage.done)} {stage.time}" if stage.at_end else stage.amount
                _add(grid, stage.name, stage.percent, figures)
        if current is not None:
            _add(grid, current.name, current.percent, current.time)
            parts.append(grid)
            words = filter(None, (f"{current.amount}, {current.speed}", current.routes_text))
            parts.append(_text(f"  {'; '.join(words)}"))
            parts.append(self._routes(current))
        elif self.step is not None and self.step.done < self.step.routes:
            parts += [grid, _step(self.step)]
        else:
            parts.append(grid)
        return Group(*parts)

    def _routes(self, stage: Stage) -> RenderableType:
        """Return a line for each route at work, as many as there is room for."""
        grid = _grid(self._console)
        most = max(_LEAST_ROUTES, min(_MOST_ROUTES, self._console.height - _OTHER_LINES))
        for route in stage.at_work[:most]:
            _add(grid, f"  {route.route}", _percent(route), _route_figures(route))
        if (more := len(stage.at_work) - most) > 0:
            grid.add_row(_text(f"  and {counted(more, 'route')} more"), "", "", "")
        return grid


class SyncTable(_Shown, Silent):
    """A table of a sync on the terminal while it is entered; before its first row, the step that the routes take."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw nothing yet."""
        self.picture: RenderableType = ""
        """What was drawn last."""
        self._has_rows = False
        _Shown.__init__(self, console)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._has_rows:  # A step that is over is nothing that stays.
            self.picture = ""
        super().__exit__(kind, error, trace)

    def render(self) -> RenderableType:
        """Return the picture."""
        return self.picture

    def stepped(self, step: str, done: int, routes: int, at_work: Sequence[str]) -> None:
        """The step takes the place of the table."""
        self.picture = _step(Step(step, done, routes, at_work)) if done < routes else _text("waiting for changes")

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """The table is drawn anew: the routes that are furthest behind, as many as there is room for."""
        rows = sorted(progress, key=lambda row: -row.lag_s)
        shown = rows[: max(_LEAST_ROUTES, self._console.height - _OTHER_LINES)]
        parts: list[RenderableType] = [_table(shown)]
        if len(rows) > len(shown):
            parts.append(_text(f"and {number(len(rows) - len(shown))} more, less far behind"))
        self.picture = Group(*parts)
        self._has_rows = True


def _console() -> Console:
    """Return the terminal itself. Each text of a name that is drawn on it is made visible here, and is no markup."""
    return Console(file=unguarded_stderr())


def _text(words: str) -> Text:
    return Text(visible(words), no_wrap=True, overflow="ellipsis")


def _grid(console: Console) -> Table:
    """Return a grid whose columns have the same place in each picture, so that nothing jumps."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", width=min(_NAME_WIDTH, console.width // 3))
    grid.add_column(ratio=1, min_width=6)
    grid.add_column(justify="right", no_wrap=True, width=5)
    grid.add_column(no_wrap=True, overflow="ellipsis", width=min(_FIGURES_WIDTH, console.width // 3))
    return grid


def _add(grid: Table, name: str, percent: int, figures: str) -> None:
    grid.add_row(_text(name), ProgressBar(total=100, completed=percent), f"{percent} %", _text(figures))


def _percent(route: RouteStage) -> int:
    if route.at_end:
        return 100
    return min(99, 100 * route.done // route.total) if route.total else 0


def _route_figures(route: RouteStage) -> str:
    return number(route.done) if route.done >= route.total else f"{number(route.done)} of ~{number(route.total)}"


def _step(step: Step) -> RenderableType:
    """Return a line for the step, whatever the length of its name, and one for the routes that take it."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1, min_width=6)
    grid.add_column(no_wrap=True)
    percent = 100 * step.done // max(1, step.routes)
    figures = f"{number(step.done)} of {counted(step.routes, 'route')}"
    grid.add_row(_text(step.name), ProgressBar(total=100, completed=percent), _text(figures))
    return Group(grid, _text(f"  at work: {named(step.at_work, 3)}") if step.at_work else "")


def _table(progress: Sequence[RouteProgress]) -> Table:
    table = Table("route", box=None, padding=(0, 2, 0, 0))
    for name in ("changes", "copied", "deleted", "behind", "rate", "source keeps"):
        table.add_column(name, justify="right")
    for row in progress:
        window = "" if row.window_s is None else seconds(row.window_s)
        table.add_row(
            *(_text(row.route), number(row.events), number(row.applied), number(row.deleted)),
            *(_text(row.ended or seconds(row.lag_s)), f"{number(round(row.rate))}/s", window),
        )
    return table
