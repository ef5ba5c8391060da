"""How deep a document is nested, and where: for the few that no encoder takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_LEVELS = 100
"""Levels of objects and arrays that a document of MongoDB has at most; every encoder here takes twice as many."""


def deepest(document: Any) -> tuple[int, str]:
    """Return the levels of objects and arrays within each other, and the dotted path of the deepest value.

    Elements of arrays are named by their number. Of several values equally deep it is the last.
    """
    levels, path = 0, ""
    waiting: list[tuple[Any, int, str]] = [(document, 1, "")]
    while waiting:  # Without recursion: this is for documents that a recursion does not get through.
        value, level, at = waiting.pop()
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        if level > levels:
            levels, path = level, at
        waiting += [
            (inner, level + 1, f"{at}.{name}" if at else str(name))
            for name, inner in items
            if isinstance(inner, Mapping | list)
        ]
    return levels, path
