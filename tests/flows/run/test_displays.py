"""What a person sees of a run: on terminals of any width and height, and by lines where there is no terminal."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console
from waiting import until

from flows.replication.sync import RouteProgress
from flows.run.bars import Bars, SyncTable
from flows.run.console import Lines, SyncLines

ROUTES = [f"a_route_with_a_long_name_{number:03}" for number in range(200)]


def drawn(display: Bars | SyncTable, console: Console) -> list[str]:
    """Return the lines of the last picture."""
    with console.capture() as capture:
        console.print(display.render() if isinstance(display, Bars) else display.picture)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capture.get()).splitlines()]


def console_of(width: int, height: int = 24) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False)


@pytest.mark.parametrize("width", [80, 100, 165])
def test_two_hundred_routes_are_a_total_those_at_work_and_a_summary(width: int) -> None:
    console = console_of(width)
    bars = Bars(console)
    for route in ROUTES:
        bars.planned(route, "copy", 1, 1_000_000)
    for route in ROUTES[:23]:
        bars.began(route, "copy", 1_000_000)
        bars.advanced(route, "copy", 250_000)
    for route in ROUTES[:3]:
        bars.ended(route, "copy", True)
    lines = drawn(bars, console)
    assert len(lines) == 1 + 12 + 1
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("copy ")
    assert "2 % 5 750 000 of ~197 750 000" in lines[0]
    assert all(line.startswith("  a_route_with_a") for line in lines[1:-1])
    assert all("25 % 250 000" in line for line in lines[1:-1])
    assert lines[-1] == "  3 of 200 routes done, 8 more at work, 177 to come"


def test_a_stage_that_is_done_is_a_line_and_a_step_has_its_own() -> None:
    console = console_of(80)
    bars = Bars(console)
    bars.planned("orders", "copy", 1, 1_500)
    bars.began("orders", "copy", 1_500)
    bars.advanced("orders", "copy", 755)
    bars.ended("orders", "copy", True)
    bars.stepped("counting", 3, 14, "users")
    copied, counting = drawn(bars, console)
    assert re.fullmatch(r"copy\s+━+ 100 % 755 in \d+\.\d s", copied)
    assert re.fullmatch(r"counting\s+[━╸╺ ]+ 21 % 3 of 14 routes  users", counting)


def test_a_sync_of_many_routes_shows_those_furthest_behind() -> None:
    console = console_of(80)
    table = SyncTable(console)
    table([RouteProgress(route, 1_234, 5, 6, float(at), 7.0, 3_600.0) for at, route in enumerate(ROUTES)])
    lines = drawn(table, console)
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert "199.0 s" in lines[1]
    assert "1 234" in lines[1]
    assert lines[-1] == "and 184 more, less far behind"


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        yield err


def test_without_a_terminal_a_line_tells_time_percent_rate_and_what_is_left() -> None:
    with printed() as err, Lines(every_s=0.05) as lines:
        lines.stepped("checking", 0, 2, "orders")
        lines.planned("orders", "copy", 1, 1_000)
        lines.began("orders", "copy", 1_000)
        lines.advanced("orders", "copy", 250)
        until(lambda: "copy 25 %" in err.getvalue(), "a line of the interval")
        lines.advanced("orders", "copy", 500)
        lines.ended("orders", "copy", True)
    first, begun, *between, last = err.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d checking: route 1 of 2, orders", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d copy 0 %: 0 of ~1 000 documents, 0/s; 0 of 1 route done", begun)
    pattern = r"\S+ copy 25 %: 250 of ~1 000 documents, [\d ]+/s, .* s left; 0 of 1 route done; at work: orders"
    assert any(re.fullmatch(pattern, line) for line in between)
    assert re.fullmatch(r"\S+ copy 100 %: 750 documents in \d+\.\d s, [\d ]+/s; 1 of 1 route done", last)


def test_a_run_that_waits_for_a_store_says_so_again_at_each_interval() -> None:
    with printed() as err, Lines(every_s=0.05) as lines:
        lines.stepped("checking", 0, 2, "orders")
        until(lambda: err.getvalue().count("checking: route 1 of 2, orders") >= 3, "lines of the interval")


def test_a_sync_of_many_routes_has_a_line_for_those_furthest_behind() -> None:
    with printed() as err, SyncLines(every_s=3_600) as lines:
        lines([RouteProgress(route, 1_234, 5, 6, float(at), 7.0, None) for at, route in enumerate(ROUTES)])
    *rows, last = err.getvalue().splitlines()
    assert len(rows) == 9
    assert rows[0].endswith(
        "sync a_route_with_a_long_name_199: 1 234 changes, 5 copied, 6 deleted, 199.0 s behind, 7/s"
    )
    assert last.endswith("sync: 191 more, at most 190.0 s behind")
