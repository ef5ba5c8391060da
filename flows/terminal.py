"""The one way to the terminal: nothing that leaves by it is obeyed by a terminal, hides in a line, or is a secret.

Names, ids and texts of servers are other people's: whoever can write a document could clear the screen, write a second
verdict below the first, or turn a name around. So a text is a line, and what does not show is escaped.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, BinaryIO, TextIO

from flows.visible_text import visible, visible_lines
from stores.masking import masked, masked_content

_SHOW_CURSOR = "\x1b[?25h"
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_COMMAND = re.compile(r"'offramp [^']*'|(?<=: )offramp [^;,]*$")


def echo(*lines: str, err: bool = False, flush: bool = False, breaks: bool = True) -> None:
    """Each text is a line of standard output, or of standard error; a newline within a text is shown as an escape.

    On a terminal a line that is too long breaks between its words, unless `breaks` is false. It stays whole elsewhere,
    for who reads by lines.
    """
    stream = sys.stderr if err else sys.stdout
    shown = [masked(visible(line)) for line in lines]
    if breaks and _unguarded(stream).isatty():
        shown = [part for line in shown for part in wrapped(line, shutil.get_terminal_size().columns)]
    stream.write("".join(f"{line}\n" for line in shown))
    if err or flush:
        stream.flush()


def wrapped(line: str, width: int) -> list[str]:
    """Return the line in lines of at most so many columns, all but the first indented.

    A longer word stays whole, and so does a command of offramp in quotes or after a colon: it is there to be pasted.
    """
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    joined = _THOUSANDS.sub("\xa0", line)  # A number stays on a line.
    joined = _COMMAND.sub(lambda found: found[0].replace(" ", "\xa0"), joined)
    lines = textwrap.wrap(joined, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [part.replace("\xa0", " ") for part in lines]


def flush() -> None:
    """Whatever was printed has left the program."""
    sys.stdout.flush()
    sys.stderr.flush()


def binary_stdout() -> BinaryIO:
    """Return standard output for bytes that are a file's, not a terminal's; they pass as they are."""
    return _unguarded(sys.stdout).buffer


def print_json(value: Any) -> None:
    """The value is on standard output as JSON, in ASCII: a store's keys may hold bytes that no reader of JSON takes."""
    # Not through the guard: a number that is a password too would end the JSON.
    _unguarded(sys.stdout).write(json.dumps(masked_content(value), indent=2) + "\n")


def is_terminal() -> bool:
    """Return whether standard error is a terminal, on which lines can be drawn again."""
    return unguarded_stderr().isatty()


def stdout_width() -> int | None:
    """Return how many columns standard output has, None where it is no terminal: a file has lines of any length."""
    return shutil.get_terminal_size().columns if _unguarded(sys.stdout).isatty() else None


_end_drawing: list[Callable[[], object]] = []


@contextmanager
def drawing(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """Something is drawn on the terminal, from `begin` to `end`; lines that are printed meanwhile stand above it.

    `begin` may put a stream of its own in the place of standard error, which is guarded too.
    """
    begin()
    _end_drawing.append(end)
    try:
        with redirect_stderr(_Guarded(sys.stderr)):
            yield
    finally:
        _end_drawing.remove(end)
        end()


def end_drawing() -> None:
    """Nothing is drawn any more, and the terminal is as it was: for a program that ends at once."""
    for end in _end_drawing:
        end()
    if is_terminal():
        unguarded_stderr().write(_SHOW_CURSOR)
        unguarded_stderr().flush()


def unguarded_stderr() -> TextIO:
    """Return standard error itself, for what draws on a terminal and makes each of its texts visible on its own."""
    return _unguarded(sys.stderr)


def _unguarded(stream: TextIO) -> TextIO:
    return stream.inner if isinstance(stream, _Guarded) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Whatever is written to standard output and standard error while the body lasts is made visible, line by line.

    That holds for Python's own warnings and tracebacks, for logs of libraries, and for what a user's mapper prints.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What a store holds must not stop a report from being printed.
            stream.reconfigure(errors="backslashreplace")
    with redirect_stdout(_Guarded(sys.stdout)), redirect_stderr(_Guarded(sys.stderr)):
        yield


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """What is printed while the body lasts goes to standard error: a mapper may print, and standard output is ours."""
    with redirect_stdout(_Guarded(sys.stderr)):
        yield


class _Guarded(io.TextIOBase):
    """A text stream before another. It is no terminal, so that no library colours what it writes."""

    def __init__(self, inner: TextIO) -> None:
        self.inner: TextIO = _unguarded(inner)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inner.encoding or "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.inner.fileno()

    def flush(self) -> None:
        self.inner.flush()

    def write(self, text: str) -> int:
        self.inner.write(masked(visible_lines(text)))
        return len(text)
