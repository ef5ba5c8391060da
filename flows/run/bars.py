"""Bars on a terminal for how far a run has come; they adapt to its width and height."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.connect.progress import Silent
from flows.quantities import counted, number, seconds
from flows.run.run_progress import RouteStage, RunProgress, Stage, Step
from flows.terminal import unguarded_stderr
from flows.visible_text import visible

if TYPE_CHECKING:
    from flows.replication.sync import RouteProgress

_MOST_ROUTES = 12
_LEAST_ROUTES = 3
_OTHER_LINES = 8
"""Lines of a terminal for anything but routes."""
_NAME_WIDTH = 24
_NARROW_NAME_WIDTH = 18
_WIDE = 100
"""Columns of a terminal from which on a route has its figures, too."""


class _Shown:
    """What is on the terminal while it is entered."""

    _live: Live

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class Bars(_Shown, RunProgress):
    """Lines for the step at hand, each stage with the routes at work on it, and how many are done."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw nothing yet."""
        super().__init__()
        self._console = console or _console()
        self._live = Live(get_renderable=self.render, console=self._console, refresh_per_second=4)

    def render(self) -> RenderableType:
        """Return what is drawn now."""
        parts: list[RenderableType] = []
        current = self.current
        for stage in self.stages():
            grid = _grid(self._console)
            _add(grid, stage.name, stage.percent, _figures(stage))
            at_hand = current is not None and stage.name == current.name
            shown = stage.at_work[: self._most_routes()] if at_hand else ()
            for route in shown:
                _add(grid, f"  {route.route}", _percent(route), self._route_figures(route))
            parts.append(grid)
            if at_hand and stage.routes > 1:
                parts.append(_text(f"  {_summary(stage, len(shown))}"))
        if self.step is not None and self.step.done < self.step.routes:
            parts.append(_step(self.step, self._console))
        return Group(*parts)

    def _most_routes(self) -> int:
        return max(_LEAST_ROUTES, min(_MOST_ROUTES, self._console.height - _OTHER_LINES))

    def _route_figures(self, route: RouteStage) -> str:
        if self._console.width < _WIDE:
            return number(route.done)
        return number(route.done) if route.done >= route.total else f"{number(route.done)} of ~{number(route.total)}"


class SyncTable(_Shown, Silent):
    """A table of a sync on the terminal while it is entered; before its first row, the step that the routes take."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw nothing yet."""
        self._console = console or _console()
        self.picture: RenderableType = ""
        """What was drawn last."""
        self._live = Live(get_renderable=lambda: self.picture, console=self._console, refresh_per_second=4)

    def stepped(self, step: str, done: int, routes: int, route: str) -> None:
        """The step takes the place of the table."""
        self.picture = _step(Step(step, done, routes, route), self._console)

    def __call__(self, progress: Sequence[RouteProgress], /) -> None:
        """The table is drawn anew: the routes that are furthest behind, as many as there is room for."""
        rows = sorted(progress, key=lambda row: -row.lag_s)
        shown = rows[: max(_LEAST_ROUTES, self._console.height - _OTHER_LINES)]
        parts: list[RenderableType] = [_table(shown)]
        if len(rows) > len(shown):
            parts.append(_text(f"and {number(len(rows) - len(shown))} more, less far behind"))
        self.picture = Group(*parts)


def _console() -> Console:
    """Return the terminal itself. Each text of a name that is drawn on it is made visible here, and is no markup."""
    return Console(file=unguarded_stderr())


def _text(words: str) -> Text:
    return Text(visible(words), no_wrap=True, overflow="ellipsis")


def _grid(console: Console) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    name_width = _NAME_WIDTH if console.width >= _WIDE else _NARROW_NAME_WIDTH
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=name_width)
    grid.add_column(ratio=1, min_width=6)
    grid.add_column(justify="right", no_wrap=True, min_width=5)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    return grid


def _add(grid: Table, name: str, percent: int, figures: str) -> None:
    grid.add_row(_text(name), ProgressBar(total=100, completed=percent), f"{percent} %", _text(figures))


def _percent(route: RouteStage) -> int:
    if route.at_end:
        return 100
    return min(99, 100 * route.done // route.total) if route.total else 0


def _figures(stage: Stage) -> str:
    if stage.at_end:
        return f"{stage.documents} in {seconds(stage.elapsed_s)}"
    left = f"  {seconds(stage.left_s)} left" if stage.left_s is not None else ""
    return f"{stage.documents}  {number(round(stage.rate))}/s{left}"


def _summary(stage: Stage, shown: int) -> str:
    more = len(stage.at_work) - shown
    others = [f"{number(more)} more at work"] if more > 0 else []
    waiting = stage.routes - stage.routes_at_end - len(stage.at_work)
    others += [f"{number(waiting)} to come"] if waiting > 0 else []
    return ", ".join([f"{number(stage.routes_at_end)} of {counted(stage.routes, 'route')} done", *others])


def _step(step: Step, console: Console) -> RenderableType:
    grid = _grid(console)
    percent = 100 * step.done // max(1, step.routes)
    _add(grid, step.name, percent, f"{number(step.done)} of {counted(step.routes, 'route')}  {step.route}")
    return grid


def _table(progress: Sequence[RouteProgress]) -> Table:
    table = Table("route", "changes", "copied", "deleted", "behind", "rate", "source keeps", box=None)
    for row in progress:
        window = "" if row.window_s is None else f"{row.window_s / 3600:.1f} h"
        table.add_row(
            *(_text(row.route), number(row.events), number(row.applied), number(row.deleted)),
            *(_text(row.ended or f"{row.lag_s:.1f} s"), f"{number(round(row.rate))}/s", window),
        )
    return table
