"""Entries that come too late for the end of their stream, put where they belong (R68)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mappers.redis.records import Entry
from stores.contract.fence import Fence
from stores.errors import PermanentError, TransientError
from stores.redis.client import LOST, Refused, Server, Step, Wire, code, failure
from stores.redis.commands import added, entry_number
from stores.redis.keys import as_bytes
from stores.throttling.backoff import Backoff, retry

_MOST = 200_000
"""The entries of a stream that is made anew: all of them are read and sent in one transaction."""
_LONG = f"holds more than {_MOST} entries"
_OUT_OF_ORDER = (
    "an entry belongs before the end of a stream, which {why}, so the stream is not rebuilt; set"
    " partitions: 1 or a key that spreads the route over more streams, delete the stream, and start over with"
    " backfill --restart"
)
_TOO_LATE = ("equal or smaller than the target stream top item", "exhausted the last possible ID")


def too_late(error: Refused) -> bool:
    """Return whether an entry was refused only because the stream is past its id: it may even be there already."""
    return any(text in str(error) for text in _TOO_LATE)


class Turns:
    """Writes to streams take turns in the order they came, so that what was read first is appended first.

    When one fails, those that wait fail with it: what is behind a gap in a stream could only be put right by making
    the whole stream anew, also after a resume.
    """

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._changed = threading.Condition()
        self._given = self._now = self._spoilt = 0

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(0, self._given - self._now - 1)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the block when all earlier blocks are done; raises TransientError if an earlier block failed."""
        with self._changed:
            mine = self._given
            self._given += 1
            self._changed.wait_for(lambda: self._now == mine)
        try:
            if mine < self._spoilt:
                raise TransientError("E-RDS-ORDER", "an earlier write to the stream failed; the same command resumes")
            yield
        except BaseException:
            self._spoilt = max(self._spoilt, self._given)
            raise
        finally:
            with self._changed:
                self._now += 1
                self._changed.notify_all()


def insert(server: Server, key: str, entries: Iterable[Entry], deadline_s: float, fence: Fence) -> Refused | None:
    """Put exactly these entries at their ids and leave all others; return the server's refusal, None if there is none.

    A stream only grows at its end, and its end cannot be set back. Entries that are there already and equal are left
    alone. Otherwise the stream is made anew in a transaction, which fails if anybody else wrote meanwhile. After the
    DEL no command of the transaction can fail, as ids rise. A command after XDEL and XSETID could, and would leave the
    stream short.
    """
    wanted = {entry.id: entry for entry in entries}

    def attempt() -> tuple[Refused | None, bool]:
        try:
            with server.wire(key) as wire:
                refused, done = _attempt(wire, key, wanted, fence)
                if done:
                    server.replicate(wire)
        except LOST:
            server.stale()
            raise
        if refused is not None and code(refused) in server.again:
            server.stale()
            raise refused
        return refused, done

    while True:  # Until no other writer was faster; each attempt that got through begins a new deadline.
        refused, done = retry(
            attempt,
            Backoff(deadline_s, timing=server.timing),
            passing=(*LOST, Refused),
            gave_up=lambda error: server.gave_up(error, deadline_s),
        )
        if refused is not None or done:
            return refused


def _attempt(wire: Wire, key: str, wanted: dict[str, Entry], fence: Fence) -> tuple[Refused | None, bool]:
    """Return a refusal, and whether the entries are there now; neither means that another writer was faster."""
    name = as_bytes(key)
    look = Step.of(
        0, key, ("WATCH", name), ("XRANGE", name, min(wanted, key=_number), "+"), ("XLEN", name), ("PERSIST", name)
    )
    (replies,) = wire.exchange([look], fence)  # PERSIST changes something.
    refused = failure(look, replies)
    if refused is not None:
        wire.exchange([Step.of(0, key, ("UNWATCH",))])
        return refused, False
    late = _by_id(key, replies[1])
    if all(text in late and late[text].canonical() == entry.canonical() for text, entry in wanted.items()):
        wire.exchange([Step.of(0, key, ("UNWATCH",))])
        return None, True
    return _made_anew(wire, key, wanted, replies[2], fence)


def _made_anew(
    wire: Wire, key: str, wanted: dict[str, Entry], length: int, fence: Fence
) -> tuple[Refused | None, bool]:
    name = as_bytes(key)
    look = Step.of(0, key, ("XINFO", "GROUPS", name), *((("XRANGE", name, "-", "+"),) if length <= _MOST else ()))
    (replies,) = wire.exchange([look])
    refused = failure(look, replies)
    if refused is not None or replies[0] or length > _MOST:
        wire.exchange([Step.of(0, key, ("UNWATCH",))])
        if refused is not None and "no such key" in str(refused):
            return None, False  # Deleted since; the next attempt finds that.
        if refused is None:
            raise PermanentError(
                "E-RDS-ORDER", _OUT_OF_ORDER.format(why="has consumer groups" if replies[0] else _LONG)
            )
        return refused, False
    merged = _by_id(key, replies[1]) | wanted
    entries = (added(merged[text]) for text in sorted(merged, key=_number))
    step = Step.together(0, key, ("DEL", name), *entries)
    (replies,) = wire.exchange([step], fence)
    return failure(step, replies), replies[-1] is not None


def _by_id(key: str, found: Iterable[tuple[bytes, list[bytes]]]) -> dict[str, Entry]:
    pairs = ((entry.decode(), tuple(zip(texts[::2], texts[1::2], strict=True))) for entry, texts in found)
    return {text: Entry(key, text, fields) for text, fields in pairs}


def _number(text: str) -> tuple[int, int]:
    number = entry_number(text)
    assert number is not None  # noqa: S101 - `unfit` let no other pass, and the server gives none
    return number
