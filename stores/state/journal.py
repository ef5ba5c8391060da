"""The checkpoints and rejects of a route as the run that has its lease may write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stores.contract.journal import Reject, Tally
from stores.state.leases import Lease, Leases
from stores.state.partitions import Partitions
from stores.state.rejects import Rejects


@dataclass(frozen=True, slots=True)
class StateJournal:
    """`stores.contract.journal.Journal` and `RejectJournal` on a state, for the run that has the lease."""

    leases: Leases
    partitions: Partitions
    rejects: Rejects
    lease: Lease
    documents: bool = False
    """Whether rejected documents are kept: they may well be personal data."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise."""
        self.leases.ensure(self.lease)

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        """The partition is copied up to `position`, with its counts and rejects: all of it or nothing."""
        self.partitions.checkpoint(self.lease, number, position, tally, rejects, done=done, documents=self.documents)

    def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        """The documents with these ids have exactly these rejects on record: all of it or nothing."""
        self.rejects.replace(self.lease, ids, rejects, documents=self.documents)
