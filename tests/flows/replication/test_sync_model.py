"""A model of a route copied while it changes, synced, killed at any call and replayed (appendix B of the rules).

Whatever happens in whatever order: once all of it has been told, the target is what the source maps to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import bson
import pytest
from examples import examples
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flows.copying.partition import copy_partition
from flows.copying.projection import Projection
from flows.replication.applier import Applier
from mappers.contract import Addressing, Document, Losses, MappingError, Record
from mappers.documents.decoding import CODEC
from mappers.identity import encode
from mappers.redis.records import String
from mappers.transforms.steps import unchanged
from mappers.values.key_templates import Template
from stores import memory
from stores.contract.changes import ChangeBatch, StreamPosition
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.contract.stop import PolledStop
from stores.contract.target import Rejected
from stores.errors import TransientError
from stores.memory import MemoryTarget
from stores.testing.changing_database import ChangingSource, MemoryDatabase

IDS = st.integers(0, 5)
PLACES = "pqrs"
WISHES = ("keep", "keep", "keep", "drop", "reject", "refuse")


class Killed(TransientError):
    """The process ended here."""

    def __init__(self) -> None:
        super().__init__("E-KILLED", "by the schedule")


@dataclass
class Faults:
    """Ends the process at a call that is counted from now, before it or after it."""

    left: int = -1
    after: bool = False

    def at(self, call: Any) -> Any:
        if self.left < 0:
            return call()
        self.left -= 1
        due = self.left < 0
        if due and not self.after:
            raise Killed
        answer = call()
        if due:
            raise Killed
        return answer


class Route(Addressing):
    """The mapper: one string for a document, under its `_id` or under a place that it may leave to another."""

    def __init__(self, key: str) -> None:
        self.key = Template.parse(key)

    def __call__(self, document: Document, /) -> Iterator[Record]:
        if document["wish"] == "reject":
            raise MappingError("E-MAP-VALUE", "wish", "wished for")
        if document["wish"] != "drop":
            yield String(self.key.fill(document), f"{document['wish']} {document['n']}".encode())

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        return self.key.addresses(identity)


def passes(document: Any) -> bool:
    return bool(document["open"])


@dataclass
class Journal:
    """What outlives a kill."""

    faults: Faults
    copied_to: bytes | None = None
    copied: bool = False
    rejects: dict[tuple[str, str], Reject] = field(default_factory=dict)
    position: StreamPosition | None = None
    positions: list[StreamPosition] = field(default_factory=list)
    """Every position the route ever stood at."""

    def ensure(self) -> None:
        pass

    def writing(self, documents: Sequence[bytes], /) -> AbstractContextManager[None]:
        return nullcontext()

    def checkpoint(
        self, _number: int, position: bytes | None, _tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        def commit() -> None:
            self.copied_to = position or self.copied_to
            self.copied = done
            self.rejects.update({(one.id, one.stage): one for one in rejects})

        self.faults.at(commit)

    def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        def commit() -> None:
            self.rejects = {key: one for key, one in self.rejects.items() if key[0] not in ids}
            self.rejects.update({(one.id, one.stage): one for one in rejects})

        self.faults.at(commit)

    def save(self, position: StreamPosition, _lag_s: float, /, *, events: int, applied: int, deleted: int) -> None:
        def commit() -> None:
            self.position = position
            self.positions.append(position)

        self.faults.at(commit)


class Source(ChangingSource):
    """Its reads may be the last call of the process."""

    faults = Faults()

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        found: Sequence[bytes] = self.faults.at(lambda: ChangingSource.fetch(self, ids))
        return found


class Target(MemoryTarget):
    """Its writes and deletes may be the last call of the process; it refuses what says so."""

    faults = Faults()

    def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
        kept = [one for one in records if not one.value.startswith(b"refuse")]
        self.faults.at(lambda: MemoryTarget.write(self, kept))
        return [
            Rejected(at, "E-MEM-REFUSED", "wished for")
            for at, one in enumerate(records)
            if one.value.startswith(b"refuse")
        ]

    def delete(self, addresses: Sequence[str], /) -> None:
        self.faults.at(lambda: MemoryTarget.delete(self, addresses))


class Syncing(RuleBasedStateMachine):
    """Records stand under `_id`; subclasses move them, or have a fault of their own that must be found."""

    key = "k:{_id}"
    named = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).named += 1
        self.name = f"{type(self).__name__}-{self.named}"
        self.faults = Faults()
        self.database = MemoryDatabase()
        self.n = 0
        self.behind = 0
        self.target = Target(MemoryTarget.Connection(), MemoryTarget.Placement(), self.name)
        self.target.faults = self.faults
        self.target.prepare()
        self.journal = self.make_journal()
        self.source = self.make_source()

    # --- what a broken subject has otherwise --------------------------------------------------------------------------

    def make_journal(self) -> Journal:
        return Journal(self.faults)

    def make_source(self) -> ChangingSource:
        source = Source(self.database, "docs", passes, self.behind, batch_documents=2)
        source.faults = self.faults
        return source

    def begin(self) -> None:
        """The position is on record before the first document is read (R101)."""
        if self.journal.position is None:
            position = self.database.changes().begin()
            self.journal.save(position, 0, events=0, applied=0, deleted=0)

    def begun(self) -> None:
        """What comes after the first reads: nothing."""

    def applier(self) -> Applier:
        assert self.journal.position is not None
        before = self.key != "k:{_id}"
        return Applier(
            *(self.source, self.projection(), self.target, self.journal, self.journal.save, self.journal.position),
            needs_former=before,
        )

    def apply(self, applier: Applier, batch: ChangeBatch) -> None:
        applier.apply(batch.touched, batch.position, 0.0)

    # --- what happens -------------------------------------------------------------------------------------------------

    @initialize(ids=st.lists(IDS, unique=True))
    def seed(self, ids: list[int]) -> None:
        for identity in ids:
            self.write(identity, PLACES[0], "keep", True)

    @rule(identity=IDS, place=st.sampled_from(PLACES), wish=st.sampled_from(WISHES), passing=st.booleans())
    def write(self, identity: int, place: str, wish: str, passing: bool) -> None:
        self.change((identity, place, wish, passing))

    @rule(identity=IDS)
    def delete(self, identity: int) -> None:
        self.database.change("docs", identity)

    @rule(identity=IDS, place=st.sampled_from(PLACES))
    def delete_and_insert_again(self, identity: int, place: str) -> None:
        self.delete(identity)
        self.write(identity, place, "keep", True)

    @rule(first=IDS, second=IDS, places=st.permutations(PLACES))
    def change_two_in_one_transaction(self, first: int, second: int, places: list[str]) -> None:
        """They share a cluster time (R112)."""
        if first != second:
            self.change((first, places[0], "keep", True), (second, places[1], "keep", True))

    @rule(first=IDS, second=IDS)
    def swap_places(self, first: int, second: int) -> None:
        now = {one["_id"]: one for one in map(_decoded, self.database.documents("docs").values())}
        if first != second and first in now and second in now:
            one, other = now[first], now[second]
            if one["wish"] == other["wish"] == "keep" and one["open"] and other["open"]:
                self.database.change("docs", first)
                self.write(second, one["place"], "keep", True)
                self.write(first, other["place"], "keep", True)

    @rule(left=st.integers(0, 6), after=st.booleans())
    def end_the_process_soon(self, left: int, after: bool) -> None:
        self.faults.left, self.faults.after = left, after

    @rule(behind=st.integers(0, 6))
    def read_from_a_member_that_lags(self, behind: int) -> None:
        self.behind = behind
        self.source.behind = behind

    @precondition(lambda self: not self.journal.copied)
    @rule(batches=st.sampled_from((1, 2, 9)))
    def backfill(self, batches: int) -> None:
        asked = iter([False] * batches)
        self.run(lambda: self.copy(lambda: next(asked, True)))

    @precondition(lambda self: self.journal.copied)
    @rule(events=st.integers(1, 5), ending=st.none() | st.tuples(st.integers(0, 6), st.booleans()))
    def sync(self, events: int, ending: tuple[int, bool] | None) -> None:
        """One batch, which the process may not outlive."""

        def once() -> None:
            if ending is not None:
                self.end_the_process_soon(*ending)
            applier = self.applier()
            changes = self.database.changes(events)
            self.apply(applier, next(iter(changes.follow({"docs": applier.needs_former}, applier.position))))
            applier.save(0.0)

        self.run(once)

    @precondition(lambda self: self.journal.copied and self.journal.positions)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """The state is an older one, of a backup: all that was told since is told again."""
        kept = data.draw(st.integers(1, len(self.journal.positions)))
        del self.journal.positions[kept:]
        self.journal.position = self.journal.positions[-1]

    @invariant()
    def no_document_is_held_twice_under_its_own_key(self) -> None:
        if self.key == "k:{_id}":
            assert len(memory.held(self.name)) <= 6

    def teardown(self) -> None:
        self.faults.left = -1
        try:
            while not self.journal.copied:
                self.copy(lambda: False)
            applier = self.applier()
            for batch in self.database.changes(3).follow({"docs": applier.needs_former}, applier.position):
                self.apply(applier, batch)
            applier.save(0.0)
            self.judge()
        finally:
            memory.forget(self.name)

    # --- how ----------------------------------------------------------------------------------------------------------

    def run(self, step: Any) -> None:
        try:
            step()
        except Killed:
            self.faults.left = -1
            self.source = self.make_source()  # Nothing but the journal and the target outlives the process.

    def copy(self, stopping: Any) -> None:
        self.begin()
        if self.journal.position is not None:
            self.source.advance(self.journal.positions[0].time)
        copy_partition(
            *(self.source, self.projection(), self.target, self.journal, Partition(0)),
            after=self.journal.copied_to,
            window=1,
            stop=PolledStop(stopping, every_s=0),
        )
        self.begun()

    def projection(self) -> Projection:
        return Projection(Route(self.key), Losses(), (String,), naming=unchanged, matches=passes)

    def change(self, *changes: tuple[int, str, str, bool]) -> None:
        documents = []
        taken: dict[str, int] = {}
        for one in map(_decoded, self.database.documents("docs").values()):
            if one["open"] and one["wish"] in ("keep", "refuse"):
                taken[one["place"]] = one["_id"]
        for identity, place, wish, passing in changes:
            self.n += 1
            # No two documents ever map to one address at one time: that would be a collision, whoever copies them.
            free = next(
                (own for own in (place, *PLACES) if taken.get(own, identity) == identity),
                f"{place}{self.n}",
            )
            taken = {own: owner for own, owner in taken.items() if owner != identity} | {free: identity}
            documents.append({"_id": identity, "place": free, "wish": wish, "open": passing, "n": self.n})
        self.database.change("docs", *documents)

    def judge(self) -> None:
        expected: dict[str, bytes] = {}
        rejects: set[tuple[str, str]] = set()
        for document in map(_decoded, self.database.documents("docs").values()):
            if not passes(document) or document["wish"] == "drop":
                continue
            if document["wish"] != "keep":
                rejects.add((encode(document["_id"]), "map" if document["wish"] == "reject" else "write"))
                continue
            expected[Template.parse(self.key).fill(document)] = f"keep {document['n']}".encode()
        held = {address: getattr(record, "value", b"") for address, record in memory.held(self.name).items()}
        assert held == expected
        assert set(self.journal.rejects) == rejects


def _decoded(raw: bytes) -> dict[str, Any]:
    return bson.decode(raw, CODEC)


class Moving(Syncing):
    """Records stand under a place that a document may leave to another: only earlier forms tell which it left."""

    key = "k:{place}"


# --- subjects with one fault each, which the model must find ----------------------------------------------------------


class SavesBeforeItWrites(Syncing):
    def apply(self, applier: Applier, batch: ChangeBatch) -> None:
        self.journal.save(batch.position, 0.0, events=0, applied=0, deleted=0)
        super().apply(applier, batch)


class BeginsAfterTheFirstRead(Syncing):
    def begin(self) -> None:
        if self.journal.copied_to is not None or self.journal.copied:
            super().begin()

    def begun(self) -> None:
        super().begin()


class DeletesWhatIsInsertedAgain(Syncing):
    def apply(self, applier: Applier, batch: ChangeBatch) -> None:
        super().apply(applier, batch)
        events = [one for one in self.database.events if one.time <= batch.position.time and one.after is None]
        gone = {one.id for one in events} & {one.id for one in batch.touched}
        self.target.delete([address for at in gone for address in applier.projection.addresses(at) or ()])


class NeverAdvances(Syncing):
    def make_source(self) -> ChangingSource:
        class Lagging(Source):
            def advance(self, time: int) -> None:
                pass

        return Lagging(self.database, "docs", passes, self.behind, batch_documents=2)


class KeepsRejectsForEver(Syncing):
    def make_journal(self) -> Journal:
        class Hoarding(Journal):
            def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
                super().replace_rejects([], rejects)

        return Hoarding(self.faults)


class ForgetsTheOldAddress(Moving):
    def applier(self) -> Applier:
        applier = super().applier()
        applier.needs_former = False
        return applier


class TakesEarlierFormsForPassing(Moving):
    def projection(self) -> Projection:
        return Projection(Route(self.key), Losses(), (String,), naming=unchanged)


class SparesNothing(Moving):
    """Deletes every former address, whoever has it now."""

    def apply(self, applier: Applier, batch: ChangeBatch) -> None:
        super().apply(applier, batch)
        left = [address for one in batch.touched for raw in one.before for address in applier.projection.former(raw)]
        self.target.delete(left)


class LosesAWrite(Syncing):
    """Its target acknowledges what it does not hold: the model would find even that."""

    def apply(self, applier: Applier, batch: ChangeBatch) -> None:
        super().apply(applier, batch)
        if len(batch.touched) > 1:
            self.target.delete(applier.projection.addresses(batch.touched[0].id) or ())


THOROUGH = settings(
    max_examples=examples(150),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(
    THOROUGH,
    max_examples=600,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    print_blob=False,
)


@pytest.mark.parametrize("machine", [Syncing, Moving])
def test_a_route_that_changes_all_the_while_ends_as_its_source_maps(machine: type[Syncing]) -> None:
    run_state_machine_as_test(machine, settings=THOROUGH)


@pytest.mark.parametrize(
    "machine",
    [
        SavesBeforeItWrites,
        BeginsAfterTheFirstRead,
        DeletesWhatIsInsertedAgain,
        NeverAdvances,
        KeepsRejectsForEver,
        ForgetsTheOldAddress,
        TakesEarlierFormsForPassing,
        SparesNothing,
        LosesAWrite,
    ],
)
def test_the_model_finds_a_subject_that_is_broken(machine: type[Syncing]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=QUICK)
