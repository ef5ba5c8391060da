"""What a person sees of a run: on terminals of any width and height, and by lines where there is no terminal."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import IO

import pytest
from rich.console import Console
from terminals import Terminal
from waiting import until

from flows import terminal
from flows.replication.sync import RouteProgress
from flows.run.bars import Bars, SyncTable
from flows.run.console import Lines, SyncLines
from stores.masking import conceal

ROUTES = [f"a_route_with_a_long_name_{number:03}" for number in range(200)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def drawn(display: Bars | SyncTable, console: Console) -> list[str]:
    """Return the lines of the last picture."""
    with console.capture() as capture:
        console.print(display.render() if isinstance(display, Bars) else display.picture)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capture.get()).splitlines()]


def console_of(width: int, height: int = 24, file: IO[str] | None = None) -> Console:
    return Console(file=file or io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False)


@pytest.mark.parametrize("width", [80, 100, 165])
def test_two_hundred_routes_are_a_total_those_at_work_and_a_summary(width: int) -> None:
    console = console_of(width)
    bars = Bars(console, clock := Clock())
    for route in ROUTES:
        bars.planned(route, "copy", 1, 1_000_000)
    bars.render()
    for route in ROUTES[:23]:
        bars.began(route, "copy", 1_000_000)
        bars.advanced(route, "copy", 250_000)
    clock.now += 100
    for route in ROUTES[:3]:
        bars.ended(route, "copy", True)
    lines = drawn(bars, console)
    assert len(lines) == 2 + 12 + 1
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("copy ")
    assert lines[0].endswith("   2 % 55 min 39 s left")
    assert re.fullmatch(r"  5 750 000 of ~197 750 000, 57 500/s; 3 of 200 routes done, 177 to come", lines[1])
    assert all(line.startswith("  a_route_with_a") for line in lines[2:-1])
    assert all("25 % 250 000 of ~1 000 000" in line for line in lines[2:-1])
    assert lines[-1] == "  and 8 routes more"


def test_a_stage_that_is_done_is_a_line_and_a_step_has_its_own() -> None:
    console = console_of(80)
    bars = Bars(console)
    bars.planned("orders", "copy", 1, 1_500)
    bars.began("orders", "copy", 1_500)
    bars.advanced("orders", "copy", 755)
    bars.ended("orders", "copy", True)
    bars.stepped("counting the documents of the source", 3, 14, ["users", "orders", "events", "logs", "tags"])
    copied, counting, at_work = drawn(bars, console)
    assert re.fullmatch(r"copy\s+━+ 100 % 755 in \d+\.\d s", copied)
    assert re.fullmatch(r"counting the documents of the source\s+[━╸╺ ]+ 3 of 14 routes", counting)
    assert at_work == "  at work: users, orders, events and 2 more"


def test_a_sync_of_many_routes_shows_those_furthest_behind() -> None:
    console = console_of(80)
    table = SyncTable(console)
    table([RouteProgress(route, 1_234, 5, 6, float(at), 7.0, 3_600.0) for at, route in enumerate(ROUTES)])
    lines = drawn(table, console)
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert "3 min 19 s" in lines[1]
    assert "1 234" in lines[1]
    assert lines[-1] == "and 184 more, less far behind"


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        yield err


def test_without_a_terminal_a_line_tells_time_percent_rate_and_what_is_left() -> None:
    with printed() as err, Lines(every_s=0.05) as lines:
        lines.stepped("checking", 0, 2, ["orders"])
        for route in ("orders", "users"):
            lines.planned(route, "copy", 1, 1_000)
        lines.began("orders", "copy", 1_000)
        lines.advanced("orders", "copy", 250)
        until(lambda: "copy 12 %" in err.getvalue(), "a line of the interval")
        lines.advanced("orders", "copy", 500)
        lines.ended("orders", "copy", True)
        lines.began("users", "copy", 1_000)
        lines.ended("users", "copy", True)
    first, begun, *between, last = err.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d checking: 0 of 2 routes; at work: orders", first)
    done = r"0 of 2 routes done, 1 to come; at work: orders"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d copy 0 %: 0 of ~2 000 documents, 0/s; {done}", begun)
    pattern = rf"\S+ copy 12 %: 250 of ~2 000 documents, [\d ]+/s, .* left; {done}"
    assert any(re.fullmatch(pattern, line) for line in between)
    assert re.fullmatch(r"\S+ copy 100 %: 750 documents, [\d ]+/s, in \d+\.\d s; 2 of 2 routes done", last)


def test_a_run_that_waits_for_a_store_says_so_again_at_each_interval() -> None:
    with printed() as err, Lines(every_s=0.05) as lines:
        lines.stepped("checking", 0, 2, ["orders"])
        until(lambda: err.getvalue().count("checking: 0 of 2 routes; at work: orders") >= 3, "lines of the interval")


@pytest.mark.parametrize("make", [Bars, SyncTable])
def test_a_line_that_is_printed_meanwhile_stands_above_the_bars_and_is_guarded(make: type[Bars | SyncTable]) -> None:
    conceal(["hunter2-of-bars"])
    err = Terminal()
    with contextlib.redirect_stderr(err), terminal.guarded(), make(console_of(80, file=err)) as bars:
        bars.stepped("checking", 0, 2, ["orders"])
        until(lambda: "orders" in err.getvalue(), "the first picture")
        sys.stderr.write("a library says hunter2-of-bars \x1b[2J\n")
        terminal.echo("a line of ours", err=True)
    text = err.getvalue()
    assert "a library says *** \\x1b[2J\n" in text.replace("\r", "")
    for line in ("a library says", "a line of ours"):
        assert re.search(rf"\x1b\[2K{line}", text), repr(text)


def test_a_program_that_ends_at_once_leaves_the_terminal_as_it_was() -> None:
    err = Terminal()
    with contextlib.redirect_stderr(err), contextlib.ExitStack() as left_open:
        bars = left_open.enter_context(Bars(console_of(80, file=err)))
        bars.stepped("checking", 0, 2, ["orders"])
        terminal.end_drawing()
        ended = err.getvalue()
        terminal.echo("offramp: ended at once", err=True)
        printed = err.getvalue().removeprefix(ended)
    assert ended.rindex("\x1b[?25h") > ended.rindex("\x1b[?25l")
    assert printed == "offramp: ended at once\n"
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", ended).endswith("orders\n")


def test_a_sync_of_many_routes_has_a_line_for_those_furthest_behind() -> None:
    with printed() as err, SyncLines(every_s=3_600) as lines:
        lines([RouteProgress(route, 1_234, 5, 6, float(at), 7.0, None) for at, route in enumerate(ROUTES)])
    *rows, last = err.getvalue().splitlines()
    assert len(rows) == 9
    assert rows[0].endswith(
        "sync a_route_with_a_long_name_199: 1 234 changes, 5 copied, 6 deleted, 3 min 19 s behind, 7/s"
    )
    assert last.endswith("sync: 191 more, at most 3 min 10 s behind")
