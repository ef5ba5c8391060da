"""Texts made once and remembered: a collection has few names and few days, and each of its documents has them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")

_MOST = 60_000
"""What is remembered; names that are data, such as a map's by user, would fill the memory."""


class Remembered(dict[Key, str]):
    """Texts by what they are made of; looked up like any dict's, and what is not there is made."""

    def __init__(self, make: Callable[[Key], str]) -> None:
        """Take the rule; what it raises is raised by the look-up."""
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> str:
        text = self._make(key)
        if len(self) < _MOST:
            self[key] = text
        return text
