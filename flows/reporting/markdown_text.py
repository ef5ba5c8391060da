"""Text as Markdown (CommonMark and GitHub's tables) that shows as it was: no link, image, HTML or cell of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flows.visible_text import visible

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
# An underscore within a word, as in most names, is plain text anyway.
_SPECIAL: Final = re.compile(r"[&<>|]|[\\`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])")
_ADDRESS: Final = re.compile(r"://|(?<=\bwww)\.|@", re.IGNORECASE)
"""What makes a link of an address without brackets; as an entity it makes none."""
_ADDRESSES: Final = re.compile(r"([^\s`]*(?:://|\bwww\.|@)[^\s`]*[^\s`.,;:!?)\]'\"])", re.IGNORECASE)
"""Words with an address in them, without the punctuation behind."""
_BLOCK: Final = re.compile(r"(?:#{1,6}|[-+=])(?=\s|$|[-+=])|\d{1,9}[.)](?=\s|$)")
"""What is a heading, a list or a rule at the beginning of a line."""


def plain(text: str) -> str:
    """Return the text so that it is shown as it is, within a line."""
    escaped = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), visible(text))
    return _ADDRESS.sub(lambda found: "".join(f"&#{ord(letter)};" for letter in found[0]), escaped)


def prose(sentence: str) -> str:
    """Return a sentence that begins a line, shown as it is, with addresses and what is between backticks as code."""
    pieces = sentence.strip(" ").split("`")
    if len(pieces) % 2 == 0:  # The last backtick has no partner.
        pieces[-2:] = [f"{pieces[-2]}`{pieces[-1]}"]
    shown = "".join(code(piece) if at % 2 and piece else _with_addresses(piece) for at, piece in enumerate(pieces))
    if begins := _BLOCK.match(shown):
        mark = begins.end() - 1 if shown[0].isdigit() else 0
        return f"{shown[:mark]}\\{shown[mark:]}"
    return shown


def _with_addresses(text: str) -> str:
    """Return text whose addresses are code: they make no link, and are read without entities too."""
    pieces = _ADDRESSES.split(text)
    return "".join(code(piece) if at % 2 else plain(piece) for at, piece in enumerate(pieces))


def code(text: str) -> str:
    """Return the text as code: a run of backticks longer than any in it ends it, and a table's cell has no pipe."""
    shown = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def table(rows: Sequence[Mapping[str, str]], left: Sequence[str] | None = None) -> list[str]:
    """Return rows of cells, which are Markdown already, as the lines of a table; all are left-aligned without `left`.

    A pipe in a cell's code is escaped, as tables want it there too.
    """
    names = list(rows[0])
    rule = [":--" if left is None or name in left else "--:" for name in names]
    body = [[row[name].replace("|", "\\|") for name in names] for row in rows]
    return ["| " + " | ".join(cut) + " |" for cut in (names, rule, *body)] + [""]
