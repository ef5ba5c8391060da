"""The checkpoints and rejects of a route as the run that has its lease may write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mappers.documents.decoding import position as position_of
from stores.contract.journal import Reject, Tally
from stores.errors import LeaseLost, OfframpError
from stores.state.late_writes import LateWrites
from stores.state.leases import Lease, Leases
from stores.state.partitions import Partitions
from stores.state.rejects import Rejects


@dataclass(frozen=True, slots=True)
class StateJournal:
    """`stores.contract.journal.Journal` and `RejectJournal` on a state, for the run that has the lease."""

    leases: Leases
    partitions: Partitions
    rejects: Rejects
    late_writes: LateWrites
    lease: Lease
    documents: bool = False
    """Whether rejected documents are kept: they may well be personal data."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise."""
        self.leases.ensure(self.lease)

    @contextmanager
    def writing(self, documents: Sequence[bytes]) -> Iterator[None]:
        """Give leave to change the records of these documents for the length of the body; see `Journal.writing`."""
        self.ensure()
        try:
            yield
        finally:
            try:
                self.leases.fence(self.lease).ensure()
            except LeaseLost as lost:
                raise LeaseLost(lost.code, self._note_late(documents)) from lost

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        """The partition is copied up to `position`, with its counts and rejects: all of it or nothing."""
        self.partitions.checkpoint(self.lease, number, position, tally, rejects, done=done, documents=self.documents)

    def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        """The documents with these ids have exactly these rejects on record: all of it or nothing."""
        self.rejects.replace(self.lease, ids, rejects, documents=self.documents)

    def _note_late(self, documents: Sequence[bytes]) -> str:
        """Put the documents on record, where that can be done, and return what a person should know."""
        at = f"route {self.lease.route}: this run's lease (fence {self.lease.fence}) was over before its last request"
        at += " was known to have ended; it stopped writing. That request may have reached the target later"
        positions = [found for found in map(position_of, documents) if found is not None]
        try:
            self.late_writes.note(self.lease.route, positions)
        except OfframpError as error:
            return f"{at}, and its documents are not on record ({error}); run verify, then repair"
        if not positions:
            return f"{at}; run verify, then repair"
        return (
            f"{at}: its documents ({len(positions)}) are on record, and the next backfill, sync or repair of the route"
            " copies them again"
        )
