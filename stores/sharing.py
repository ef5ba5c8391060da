"""Clients that all users in a process share: a plan of hundreds of routes needs one for each server, not each route."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What holds connections until it is closed."""

    def close(self) -> None:
        """Release the connections."""


T = TypeVar("T", bound=Closable)


@dataclass(slots=True)
class _Entry(Generic[T]):
    client: T
    users: int


class Sharing(Generic[T]):
    """Clients of one kind, each under a key that says all it is made of; safe to use from several threads."""

    def __init__(self) -> None:
        """Hold no client yet."""
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[T]] = {}

    @contextmanager
    def use(self, key: Hashable, make: Callable[[], T]) -> Iterator[T]:
        """Give the client of this key for the length of the body.

        It is made by `make` for its first user and closed after its last one. Raises what `make` raises.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(make(), 0)
            entry.users += 1
        try:
            yield entry.client
        finally:
            with self._lock:
                entry.users -= 1
                last = entry.users == 0
                if last:
                    del self._entries[key]
            if last:
                entry.client.close()
