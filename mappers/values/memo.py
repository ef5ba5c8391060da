"""A bounded cache of texts, because the documents of a collection share a few names and days."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")

_MOST = 60_000
"""The most texts kept. Names that are data, such as the keys of a map by user, would fill the memory."""


class Remembered(dict[Key, str]):
    """Texts by the values that they are made of. Looking up a missing text makes it."""

    def __init__(self, make: Callable[[Key], str]) -> None:
        """Take the function that makes a text. A look-up raises the errors of that function."""
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> str:
        text = self._make(key)
        if len(self) < _MOST:
            self[key] = text
        return text
