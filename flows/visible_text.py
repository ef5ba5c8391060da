"""Text that shows what it holds: characters that a terminal obeys, or that nobody sees, as escapes."""

from __future__ import annotations

import re
from typing import Final

_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
"""Characters that Unicode calls printable and that show nothing: fillers, blanks and selectors of a variant."""


def visible(text: str) -> str:
    """Return the text on one line, each character that does not show as an escape of Python.

    These are control and format characters with the marks of writing direction, spaces other than the plain one,
    lone surrogates, unassigned characters and blanks. The text of the result is the result.
    """
    if text.isprintable() and not _BLANK.search(text):
        return text
    return "".join(
        letter if letter.isprintable() and not _BLANK.match(letter) else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def visible_lines(text: str) -> str:
    """Return the text with its line ends as they are, and all else as `visible` returns it."""
    return "\n".join(map(visible, text.split("\n")))
