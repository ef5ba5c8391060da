"""What a source of changes promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stores.contract.stop import NEVER, Stop


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a stream of changes goes on: past this token, or at this time where there is no token yet."""

    time: int
    """A cluster time, ``seconds << 32 | increment``: no event still to come is older."""
    token: bytes = b""
    """The BSON of a resume token, opaque."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A document that was inserted, changed or deleted, or all of it in turns: what it is now is for a read to say."""

    collection: str
    id: bytes
    """BSON ``{"_id": id}``, as a batch's position."""
    before: Sequence[bytes] = ()
    """What it was before each change, where the stream was asked for it and the server has it."""


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Consecutive changes of a database, each document named once."""

    touched: Sequence[Touched]
    position: StreamPosition
    """Once everything touched is as it should be, the stream goes on from here."""
    events: int
    halts: Mapping[str, str]
    """Collections that this stream has ended for (dropped, renamed, …), each with what happened to it."""


class Changes(Protocol):
    """The changes of one database (R101, R120-R124)."""

    def begin(self) -> StreamPosition:
        """Return the position now, with the stream opened there and proven to go on from it (R101)."""

    def follow(
        self,
        collections: Mapping[str, bool],
        since: StreamPosition,
        *,
        until: int | None = None,
        stop: Stop = NEVER,
    ) -> Iterator[ChangeBatch]:
        """Yield what was touched in these collections, in order, by batches of bounded time and size.

        The value of each collection says whether `before` is wanted. A quiet stream yields empty batches, whose
        position still advances. The iterator ends when its position has reached `until`, when `stop` is set,
        or when every collection has halted. A batch names no documents of a halting collection: read now, they would
        look deleted.
        Raises PermanentError E-SRC-HISTORY-LOST if the source no longer has the changes since `since` (R121).
        """

    def now(self) -> int:
        """Return the source's cluster time, at or after everything it has acknowledged so far."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """Whether a collection's changes can be streamed; by a rescan or a watermark they can be found either way."""

    possible: bool
    reason: str = ""
    """Why not."""
    before_images: bool = False
    """Whether the source keeps what each document was before a change."""
    command: str = ""
    """What grants the stream, or else what makes the source keep those; "" where nothing is missing, or nothing helps.
    """
    window_s: float | None = None
    """How far back the source tells changes now, in seconds; None where it cannot be asked (R121)."""
    unrecorded: bool = False
    """Whether changes go by now without being recorded anywhere."""
    imageless: str = ""
    """Which source it is, if it is one that never keeps what documents were before a change."""
    notes: Sequence[str] = ()
    """What a person should know of it."""
    keeping: str = ""
    """What makes the source keep its changes longer, as what is followed by how long."""
