"""What copying leaves on record."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from mappers.losses import Loss, LossFields, add_losses


@dataclass(slots=True)
class Tally:
    """What became of a run of documents; the parts add up: read = dropped + rejected + copied."""

    read: int = 0
    dropped: int = 0
    rejected: int = 0
    copied: int = 0
    records: int = 0
    """Records the target acknowledged."""
    id_types: Counter[str] = field(default_factory=Counter)
    """Documents read per BSON type of `_id`."""
    losses: Counter[str] = field(default_factory=Counter)
    """Values not held exactly, by kind."""
    lost: LossFields = field(default_factory=dict)
    """The same by field and kind, with examples."""
    accepted: int = 0
    """Of the rejected documents, those that a person has accepted; only a verification asks."""
    sizes: Counter[int] = field(default_factory=Counter, compare=False)
    """Documents read by the bits of their size in bytes: 11 for 1,024 to 2,047."""

    def add(self, other: Tally) -> None:
        """Count the other's documents too."""
        self.read += other.read
        self.dropped += other.dropped
        self.rejected += other.rejected
        self.copied += other.copied
        self.records += other.records
        self.accepted += other.accepted
        self.id_types += other.id_types
        self.losses += other.losses
        add_losses(self.lost, other.lost)
        self.sizes += other.sizes

    def to_json(self) -> str:
        """Return the tally as JSON."""
        kept = {name: getattr(self, name) for name in self.__slots__}
        kept["lost"] = [[*key, loss.count, loss.examples] for key, loss in self.lost.items()]
        return json.dumps(kept)

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Return the tally that `to_json` wrote."""
        kept: dict[str, Any] = json.loads(text)
        for name in ("id_types", "losses"):
            kept[name] = Counter(kept.get(name, {}))
        kept["sizes"] = Counter({int(bits): count for bits, count in kept.get("sizes", {}).items()})
        kept["lost"] = {(path, kind): Loss(count, ids) for path, kind, count, ids in kept.get("lost", ())}
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Reject:
    """A document that could not be mapped or written; it is named, never shown."""

    id: str
    """The typed text of its `_id`."""
    stage: str
    """decode, transform, map or write."""
    code: str
    field: str
    reason: str
    document: bytes = dataclasses.field(default=b"", repr=False, compare=False)
    """Its BSON as it was stored: names it exactly, and is kept itself only where the plan allows it."""


class Journal(Protocol):
    """The checkpoints of a route, for the run that has its lease."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise (R48, R134)."""

    def writing(self, documents: Sequence[bytes], /) -> AbstractContextManager[None]:
        """Give leave to change the records of these documents for the length of the body: one batch (R48, R134).

        Documents are BSON, whole or no more than their `_id`. Raises LeaseLost before the body if this run may not
        write. If its lease is over when the body ends, however it ends, a request of the body may reach the target
        after another run took over: raises LeaseLost, and the documents are on record to be copied again.
        """

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        """Record the partition's position with its batch's counts and rejects: all of them or none (R131).

        Call only when every record up to `position` is acknowledged; None leaves the position as it was.
        """


class RejectJournal(Protocol):
    """The rejects of a route, for the run that has its lease."""

    def writing(self, documents: Sequence[bytes], /) -> AbstractContextManager[None]:
        """Give leave to change the records of these documents; see `Journal.writing`."""

    def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        """The documents with these ids (typed texts) have exactly these rejects on record: all of it or nothing.

        Call only when each of their records is acknowledged, and each record they no longer have is deleted (R140).
        """
