"""What other people wrote is shown, and never obeyed by a terminal; the lines of a command are the command's own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from terminals import Terminal

from flows import terminal
from flows.replication.sync import RouteProgress
from flows.run import logs
from flows.run.bars import Bars, SyncTable
from flows.visible_text import visible, visible_lines

HOSTILE = "a\x1b[2J\x9b31mb\u202ec\u2066d\u200be\nverdict clean\r\tf\x00\u3164g\ud800"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer – 漢字 🎨", "plain, größer – 漢字 🎨"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\r\tc\x00", r"a\nb\r\tc\x00"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("a\u200bb\ufeffc\u2028d\xa0e", r"a\u200bb\ufeffc\u2028d\xa0e"),
        ("\u3164\u2800\ufe0f\U000e0100\U000e0041", r"\u3164\u2800\ufe0f\U000e0100\U000e0041"),
        ("\ud800", r"\ud800"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_what_does_not_show_is_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
@example(HOSTILE)
def test_a_visible_text_is_one_line_without_control_and_format_characters(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible(shown) == shown
    assert visible_lines(text).count("\n") == text.count("\n")


def captured() -> tuple[io.StringIO, io.StringIO, contextlib.ExitStack]:
    out, err, streams = io.StringIO(), io.StringIO(), contextlib.ExitStack()
    streams.enter_context(contextlib.redirect_stdout(out))
    streams.enter_context(contextlib.redirect_stderr(err))
    return out, err, streams


def test_a_text_is_a_line() -> None:
    out, err, streams = captured()
    with streams:
        terminal.echo("one", HOSTILE)
        terminal.echo(HOSTILE, err=True)
        terminal.print_json({"name": HOSTILE})
    shown = visible(HOSTILE)
    assert out.getvalue().startswith(f"one\n{shown}\n{{")
    assert json.loads(out.getvalue().partition("{")[2].join(("{", ""))) == {"name": HOSTILE}
    assert err.getvalue() == f"{shown}\n"


def test_whatever_is_written_while_guarded_is_made_visible() -> None:
    out, err, streams = captured()
    with streams, terminal.guarded():
        print("\x1b[2J of a library")
        print("\x1b[2J of a library", file=sys.stderr)
        with terminal.stdout_on_stderr():
            print("\x1b[2J of a mapper")
        assert not terminal.is_terminal()
        assert not sys.stderr.isatty()
        assert terminal.unguarded_stderr() is err
    assert out.getvalue() == "\\x1b[2J of a library\n"
    assert "\x1b" not in err.getvalue()
    for writer in ("library", "mapper"):
        assert f"\\x1b[2J of a {writer}\n" in err.getvalue()


def test_a_message_of_the_log_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    _, err, streams = captured()
    with streams:
        logs.to_stderr()
        logging.getLogger("flows").warning("of %s", HOSTILE)
    assert err.getvalue().endswith(f"of {visible(HOSTILE)}\n")
    assert err.getvalue().count("\n") == 1


def test_a_bar_shows_a_name_as_it_is_written() -> None:
    name = f"[red]{HOSTILE}[/blue]"
    _, err, streams = captured()
    with streams, terminal.guarded():
        with Bars() as bars:
            bars.stepped("checking", 0, 2, [name])
            bars.began(name, "copy", 3)
            bars.advanced(name, "copy", 3)
        with SyncTable() as table:
            table.stepped("checking", 0, 1, [name])
            table([RouteProgress(name, 1, 1, 0, 0.0, 1.0, None, "")])
    assert err.getvalue().count("[red]a") >= 2
    assert "\x1b[2J" not in err.getvalue()
    assert not any(line.startswith("verdict clean") for line in err.getvalue().splitlines())


def test_a_long_line_breaks_between_words_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "  orders: 12 000 can be copied, 2 000 000 not; see /a/path/that/is/longer/than/the/line/is/wide.html"
    out, _, streams = captured()
    with streams:
        terminal.echo(line)
    assert out.getvalue() == f"{line}\n"
    shown = Terminal()
    with contextlib.redirect_stdout(shown):
        terminal.echo(line)
    assert shown.getvalue().splitlines() == [
        "  orders: 12 000 can be copied,",
        "    2 000 000 not; see",
        "    /a/path/that/is/longer/than/the/line/is/wide.html",
    ]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "next: Copy again with 'offramp repair plan.yaml --route a', then verify",
            ["next: Copy again with", "  'offramp repair plan.yaml --route a',", "  then verify"],
        ),
        (
            "no fault found; next: offramp backfill /a/long/way/to/a/plan.yaml",
            ["no fault found; next:", "  offramp backfill /a/long/way/to/a/plan.yaml"],
        ),
    ],
)
def test_a_command_is_never_broken(monkeypatch: pytest.MonkeyPatch, line: str, shown: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal_ = Terminal()
    with contextlib.redirect_stdout(terminal_):
        terminal.echo(line)
    assert terminal_.getvalue().splitlines() == shown


def test_a_line_that_is_to_stay_whole_is_left_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = Terminal()
    with contextlib.redirect_stdout(shown):
        terminal.echo("  cp /a/path/that/is/long/plan.yaml /another/path/mappers.py .", breaks=False)
    assert shown.getvalue() == "  cp /a/path/that/is/long/plan.yaml /another/path/mappers.py .\n"
