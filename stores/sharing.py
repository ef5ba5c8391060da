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
    closing: threading.Timer | None = None
    """What closes it, while it has no users."""


class Sharing(Generic[T]):
    """Clients of one kind, each under a key that says all it is made of; safe to use from several threads."""

    def __init__(self) -> None:
        """Hold no client yet."""
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[T]] = {}
        self._keep_s = 0.0

    def keep(self, seconds: float) -> None:
        """From now on a client is closed so long after its last user, or else at once.

        For a process that does one short job after another: it opens its connections once.
        """
        self._keep_s = seconds

    @contextmanager
    def use(self, key: Hashable, make: Callable[[], T], is_usable: Callable[[T], bool] = lambda _: True) -> Iterator[T]:
        """Give the client of this key for the length of the body.

        It is made by `make` for its first user and closed after its last one, or so long after as `keep` says: then a
        client that is not usable any more is closed and made anew. Raises what `make` raises.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.users == 0 and not is_usable(entry.client):
                self._remove(key, entry)
                entry.client.close()
                entry = None
            if entry is None:
                entry = self._entries[key] = _Entry(make(), 0)
            entry.users += 1
            if entry.closing is not None:
                entry.closing.cancel()
                entry.closing = None
        try:
            yield entry.client
        finally:
            with self._lock:
                entry.users -= 1
                last = entry.users == 0
                kept = last and self._keep_s > 0
                if kept:
                    entry.closing = threading.Timer(self._keep_s, self._close_unused, (key, entry))
                    entry.closing.daemon = True
                    entry.closing.start()
                elif last:
                    self._remove(key, entry)
            if last and not kept:
                entry.client.close()

    def _close_unused(self, key: Hashable, entry: _Entry[T]) -> None:
        with self._lock:
            if entry.users or self._entries.get(key) is not entry:
                return
            self._remove(key, entry)
        entry.client.close()

    def _remove(self, key: Hashable, entry: _Entry[T]) -> None:
        del self._entries[key]
        if entry.closing is not None:
            entry.closing.cancel()
