"""A full pass says what plain sets say: killed anywhere, in any order, in slices, with few cells or with many."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.copying.projection import Projection
from flows.verifier import part_ledger, sketch
from flows.verifier.compare import Expecting, Save, compare_partition
from flows.verifier.full_pass import STAGES, Closed, FullPass
from flows.verifier.ledger import SAMPLES
from flows.verifier.part_ledger import Shape
from flows.verifier.recheck import Recheck
from mappers.contract import Document, Losses, Record
from mappers.identity import encode
from mappers.redis.records import String
from stores import memory
from stores.contract.journal import Tally
from stores.contract.source import Batch, Partition
from stores.contract.target import Relisting
from stores.memory import MemorySource, MemoryTarget
from stores.state.state import State
from stores.state.verification import PassPart, Verification

ROUTE = "things"
Found = Sequence[tuple[str, str]]


class Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class Fuse:
    """Kills at the scheduled call of any of those it is asked at."""

    at: int = -1
    calls: int = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Killed


def one_each(document: Document) -> Iterator[String]:
    """Map to one record, at the address of another document if it says so."""
    yield String(encode(document.get("twin", document["_id"])), str(document["n"]).encode())


class Place(MemoryTarget):
    """A target that lists as a test tells it."""

    lists_once = False
    twice: Sequence[str] = ()
    """Addresses that the first listing yields twice."""
    late: Mapping[str, Record] = {}
    """Records that are there once the listing is over."""
    listings = 0
    asked: Callable[[], object] = staticmethod(lambda: None)

    def addresses(self) -> Iterator[str]:
        self.listings += 1
        for address in [*super().addresses()]:
            self.asked()
            yield address
            if self.listings == 1 and address in self.twice:
                yield address
        self.write([*self.late.values()])


def place(records: Sequence[Record]) -> Place:
    memory.forget("full")
    target = Place(MemoryTarget.Connection(), MemoryTarget.Placement(), "full")
    target.prepare()
    target.write(records)
    return target


class Mute:
    """A target that holds what another does, and cannot list."""

    def __init__(self, target: MemoryTarget) -> None:
        self.records = target.records
        self.read = target.read


class Mortal:
    """The state's passes, for a process that is killed right before or after it writes."""

    def __init__(self, kept: Verification, fuse: Fuse, sizes: list[int]) -> None:
        self.kept = kept
        self.fuse = fuse
        self.sizes = sizes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.kept, name)
        if name not in ("checkpoint", "suspect", "begin_anew"):
            return method

        def call(*args: Any, **keys: Any) -> None:
            self.fuse()
            if name == "checkpoint":
                self.sizes += [len(cells) for cells in args[4].vectors.values()]
            method(*args, **keys)
            self.fuse()

        return call


@dataclass
class Rig:
    """The pass of one route over stores in memory, its state in a file."""

    folder: Path
    source: MemorySource
    target: Any
    fuse: Fuse = field(default_factory=Fuse)
    window: int = 2
    checkpoint_s: float = 0.0
    mapper: Any = one_each
    read: int = 0
    """Documents read so far."""
    notes: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=lambda: [0])
    """Bytes of each sketch that was saved."""

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.state = State(f"sqlite:///{self.folder}/state.db", "shop")
        self.lease = self.state.leases.acquire(ROUTE)

    def projection(self) -> Projection:
        return Projection(self.mapper, Losses(), (String,))

    def begin(self, shape: Shape, partitions: int = 1, shares: int = 1) -> None:
        parts = self.source.split(partitions)
        self.state.verification.begin(self.lease, {}, shares, parts, shape.to_json())

    def full_pass(self) -> FullPass:
        rig, source, target, fuse = self, self.source, self.target, self.fuse

        class MortalSource(MemorySource):
            def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
                for batch in source.read(partition, after):
                    fuse()
                    rig.read += len(batch.documents)
                    yield batch
                    fuse()

        def compare(ledger: Expecting, part: PassPart, save: Save) -> Tally | None:
            return compare_partition(
                *(MortalSource([]), self.projection(), target, ledger, part.partition),
                after=part.position,
                seen=part.tally,
                window=self.window,
                save=save,
                checkpoint_s=self.checkpoint_s,
            )

        verification: Any = Mortal(self.state.verification, fuse, self.sizes)
        return FullPass(
            *(verification, self.lease, target, self.projection(), compare),
            lambda differences: Recheck(source, self.projection(), target, differences=differences),
        )

    def go_on(self, order: random.Random | None = None) -> Closed:
        """Do all parts that are left, in any order within a stage, until the pass has ended."""
        while True:
            for stage in STAGES:
                parts = [part for part in self.state.verification.parts(ROUTE) if part.stage == stage and not part.done]
                if order is not None:
                    order.shuffle(parts)
                for part in parts:
                    self.full_pass().do(part.number)
            closed = self.full_pass().close()
            if closed.comparison is not None:
                return closed
            self.notes.append(closed.note)

    def outcome(self, closed: Closed) -> tuple[Mapping[str, Any], Found, Tally]:
        assert closed.comparison is not None
        sums = closed.comparison.balance
        figures = {name: getattr(sums, name) for name in sums.__slots__ if name != "samples"}
        found = sorted((one.kind, one.address) for one in self.state.verification.findings(ROUTE))
        for kind, addresses in sums.samples.items():
            assert set(addresses) <= {address for each, address in found if each == kind}
            assert len(addresses) == min(SAMPLES, sum(each == kind for each, _ in found))
        return figures, found, closed.comparison.tally


def told(documents: Sequence[Mapping[str, Any]], held: Sequence[Record], *, lists: bool = True) -> Any:
    """What plain sets say of documents and records at rest."""
    there = {record.address: record for record in held}
    made: dict[str, list[Record]] = {}
    for document in documents:
        for record in one_each(document):
            made.setdefault(record.address, []).append(record)
    kinds: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    for address, records in made.items():
        if len(records) > 1:
            kinds["collides"] += len(records) - 1
            found.append(("collides", address))
        if address not in there:
            kinds["missing"] += 1
            found.append(("missing", address))
        else:
            kinds["held"] += 1
            if there[address] not in records:
                kinds["differs"] += 1
                found.append(("differs", address))
    extras = sorted({*there} - {*made})
    figures = dict.fromkeys(("expired", "refused", "settled", "lapsed", "unsettled", "inconclusive"), 0)
    figures |= {kind: kinds[kind] for kind in ("held", "missing", "differs", "collides")}
    figures["records"] = len(documents)
    return {**figures, "extra": len(extras) if lists else None}, sorted(
        [*found, *(("extra", address) for address in extras if lists)]
    )


DAMAGE = ("ok", "ok", "ok", "missing", "differs", "twin", "twin", "extra")
damaged = st.lists(st.sampled_from(DAMAGE), max_size=24) | st.lists(st.sampled_from(DAMAGE), min_size=12, max_size=24)


def laid_out(damage: Sequence[str]) -> tuple[list[dict[str, Any]], list[String]]:
    """Documents and records; a twin is at the address of the document before, which may be that of one before it."""
    documents = [{"_id": number, "n": number * 7} for number in range(len(damage))]
    for number, what in enumerate(damage):
        if what == "twin" and number:
            documents[number]["twin"] = documents[number - 1].get("twin", number - 1)
    records = {record.address: record for document in documents for record in one_each(document)}
    for number, what in enumerate(damage):
        if what == "missing":
            records.pop(f"n:{number}", None)
        elif what == "differs" and f"n:{number}" in records:
            records[f"n:{number}"] = String(f"n:{number}", b"damaged")
        elif what == "extra":
            records[f"s:{number}"] = String(f"s:{number}", b"")
    return documents, [*records.values()]


shapes = st.builds(
    lambda bits, slices: Shape(b"k" * 16, bits, slices), st.sampled_from([2, 6, 10]), st.sampled_from([1, 1, 3])
)


@settings(max_examples=examples(50))
@given(damaged, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), shapes, st.data())
def test_a_pass_killed_at_any_call_says_what_it_would_have_said(
    tmp_path_factory: pytest.TempPathFactory,
    damage: list[str],
    batch_documents: int,
    partitions: int,
    window: int,
    shape: Shape,
    data: st.DataObject,
) -> None:
    documents, records = laid_out(damage)
    source = MemorySource(documents, batch_documents=batch_documents)
    rig = Rig(tmp_path_factory.mktemp("killed"), source, place(records), window=window)
    rig.checkpoint_s = data.draw(st.sampled_from([0.0, 1e9]))
    rig.target.twice = data.draw(st.lists(st.sampled_from([record.address for record in records] or ["x"]), max_size=3))
    rig.target.asked = rig.fuse
    rig.begin(shape, partitions)
    order = random.Random(data.draw(st.integers(0, 99)))
    for _ in range(30):
        rig.fuse.calls, rig.fuse.at = 0, data.draw(st.integers(1, 60))
        try:
            closed = rig.go_on(order)
            break
        except Killed:
            continue
    else:
        rig.fuse.at = -1
        closed = rig.go_on(order)
    figures, found, tally = rig.outcome(closed)
    assert (figures, found) == told(documents, records)
    assert tally.read == len(documents)
    assert rig.state.verification.under_way(ROUTE) is None
    rig.state.close()


@settings(max_examples=examples(20))
@given(damaged, st.integers(1, 3), shapes)
def test_a_target_that_cannot_list_has_no_extras_and_its_collisions_are_found(
    tmp_path_factory: pytest.TempPathFactory, damage: list[str], partitions: int, shape: Shape
) -> None:
    documents, records = laid_out(damage)
    rig = Rig(tmp_path_factory.mktemp("mute"), MemorySource(documents), Mute(place(records)))
    rig.begin(shape, partitions)
    figures, found, _ = rig.outcome(rig.go_on())
    assert (figures, found) == told(documents, records, lists=False)
    rig.state.close()


def rig_of(tmp_path: Path, documents: Sequence[Mapping[str, Any]], records: Sequence[Record], **keys: Any) -> Rig:
    source = MemorySource(documents, batch_documents=keys.pop("batch_documents", 100))
    return Rig(tmp_path, source, place(records), **keys)


def plain(number: int) -> tuple[list[dict[str, Any]], list[String]]:
    documents = [{"_id": n, "n": n} for n in range(number)]
    return documents, [record for document in documents for record in one_each(document)]


def test_a_pass_without_differences_reads_source_and_target_once(tmp_path: Path) -> None:
    documents, records = plain(500)
    rig = rig_of(tmp_path, documents, records)
    rig.target.lists_once = True
    rig.begin(Shape.first(500, listed=True), 3)
    closed = rig.go_on()
    assert rig.outcome(closed)[:2] == told(documents, records)
    assert (rig.read, rig.target.listings, rig.notes) == (500, 1, [])
    assert (closed.about["slices"], closed.about["partitions"], closed.about["absent_unread"]) == (1, 3, False)


def test_more_differences_than_cells_make_the_pass_begin_again_with_more(tmp_path: Path) -> None:
    documents, records = plain(100)
    extras = [String(f"s:{number}", b"") for number in range(5_000)]
    rig = rig_of(tmp_path, documents, [*records, *extras])
    rig.begin(Shape.first(100, listed=True), 2)
    assert rig.outcome(rig.go_on())[:2] == told(documents, [*records, *extras])
    assert ["begins again with larger sketches" in note for note in rig.notes] == [True, False]


def test_beyond_the_largest_sketch_the_pass_is_done_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sketch, part_ledger):
        monkeypatch.setattr(module, "MOST_BITS", 10)
    documents, records = laid_out(["ok", "missing", "differs", "twin", "twin"] * 60)
    extras = [String(f"s:{number}", b"") for number in range(5_000)]
    rig = rig_of(tmp_path, documents, [*records, *extras])
    rig.begin(Shape.first(300, listed=True), 2)
    closed = rig.go_on()
    assert rig.outcome(closed)[:2] == told(documents, [*records, *extras])
    slices = closed.about["slices"]
    assert 2 <= slices <= 5  # As the differences are estimated under a key that is drawn.
    assert f"in {slices} slices" in rig.notes[0]
    assert rig.outcome(closed)[2].read == 300
    # What each part keeps in the state is no more than the cells of one sketch.
    assert max(rig.sizes) <= 3 * (1 << 10) * 30


def test_a_duplicate_in_a_listing_hides_no_collision_and_is_no_extra(tmp_path: Path) -> None:
    documents, records = laid_out(["ok", "twin", "ok", "ok"])
    rig = rig_of(tmp_path, documents, records)
    rig.target.twice = ["n:0", "n:3"]
    rig.begin(Shape.first(4, listed=True))
    assert rig.outcome(rig.go_on())[:2] == told(documents, records)


def test_a_listing_that_begins_anew_is_listed_once(tmp_path: Path) -> None:
    class Broken(Place, Relisting):
        def addresses_anew(self, anew: Callable[[], object], /) -> Iterator[str]:
            yield from [*self.addresses()][:-1]
            anew()
            yield from self.addresses()

    documents, records = plain(2_500)
    rig = rig_of(tmp_path, documents, records)
    rig.target = Broken(MemoryTarget.Connection(), MemoryTarget.Placement(), "full")
    rig.begin(Shape.first(2_500, listed=True))
    assert rig.outcome(rig.go_on())[:2] == told(documents, records)
    assert (rig.read, rig.notes) == (2_500, [])


def test_a_record_that_came_after_the_listing_is_neither_extra_nor_collides(tmp_path: Path) -> None:
    documents, records = plain(20)
    rig = rig_of(tmp_path, documents, records[:15])
    rig.target.late = {record.address: record for record in records[15:]}
    rig.begin(Shape.first(20, listed=True))
    assert rig.outcome(rig.go_on())[:2] == told(documents, records)


def test_of_three_documents_at_one_address_two_collide_and_the_last_is_named(tmp_path: Path) -> None:
    documents = [{"_id": 0, "n": 1}, {"_id": 1, "n": 2, "twin": 0}, {"_id": 2, "n": 3, "twin": 0}]
    rig = rig_of(tmp_path, documents, [String("n:0", b"2")], batch_documents=1)
    rig.begin(Shape.first(3, listed=True), 3)
    figures, _, _ = rig.outcome(rig.go_on())
    assert (figures["records"], figures["held"], figures["differs"], figures["collides"]) == (3, 1, 0, 2)
    (finding,) = rig.state.verification.findings(ROUTE)
    assert (finding.kind, finding.address, finding.id) == ("collides", "n:0", "n:2")


def test_samples_of_differences_are_not_those_of_shared_records_and_none_is_empty(tmp_path: Path) -> None:
    shared = [{"_id": 2 * n + twin, "n": 2 * n + twin, "twin": 2 * n} for n in range(SAMPLES) for twin in (0, 1)]
    at_shared = [String(encode(2 * n), str(2 * n + 1).encode()) for n in range(SAMPLES)]
    alone = {"_id": 99, "n": 1}  # Read after those.
    for value, found in ((b"1", {"collides"}), (b"2", {"collides", "differs"})):
        rig = rig_of(tmp_path / value.decode(), [*shared, alone], [*at_shared, String("n:99", value)])
        rig.begin(Shape.first(2 * SAMPLES + 1, listed=True))
        closed = rig.go_on()
        rig.outcome(closed)
        assert closed.comparison is not None
        assert closed.comparison.balance.samples.keys() == found


def expiring(document: Document) -> Iterator[String]:
    yield String(encode(document.get("twin", document["_id"])), b"", expires_at_ms=document["until"])


def test_records_that_expire_are_expired_whenever_they_go_and_their_collisions_are_found(tmp_path: Path) -> None:
    long_ago, now = 1_000, int(time.time() * 1000) + 1_000
    documents = [{"_id": number, "until": long_ago if number < 5 else now} for number in range(10)]
    documents += [{"_id": 10, "until": long_ago, "twin": 2}, {"_id": 11, "until": now, "twin": 7}]
    listed = [String(f"n:{number}", b"", expires_at_ms=now) for number in range(5, 10)]
    rig = rig_of(tmp_path, documents, listed, mapper=expiring)
    rig.begin(Shape.first(12, listed=True))
    rig.full_pass().do(0)
    rig.target.delete([record.address for record in listed])  # As they expire, after they were listed.
    figures, found, _ = rig.outcome(rig.go_on())
    assert (figures["records"], figures["expired"], figures["collides"], figures["extra"]) == (12, 10, 2, 0)
    assert found == [("collides", "n:2"), ("collides", "n:7")]


def test_records_that_expired_since_they_were_listed_leave_nothing_to_look_into(tmp_path: Path) -> None:
    now = int(time.time() * 1000) + 1_000
    documents = [{"_id": number, "until": now} for number in range(10)]
    listed = [String(f"n:{number}", b"", expires_at_ms=now) for number in range(10)]
    rig = rig_of(tmp_path, documents, listed, mapper=expiring)
    rig.begin(Shape.first(10, listed=True))
    rig.full_pass().do(0)
    rig.target.delete([record.address for record in listed])
    assert rig.outcome(rig.go_on())[0]["expired"] == 10
    assert rig.notes == []


def test_documents_before_and_after_a_checkpoint_that_share_a_record_are_found(tmp_path: Path) -> None:
    documents, records = laid_out(["ok"] * 40)
    documents[39] |= {"twin": 0, "n": 0}
    records = [record for record in records if record.address != "n:39"]
    rig = rig_of(tmp_path, documents, records, batch_documents=5, window=1)
    rig.begin(Shape.first(40, listed=True))
    rig.full_pass().do(0)
    rig.fuse.calls, rig.fuse.at = 0, 12
    with pytest.raises(Killed):
        rig.full_pass().do(1)
    rig.fuse.at = -1
    assert rig.state.verification.parts(ROUTE)[1].position is not None
    assert rig.outcome(rig.go_on())[:2] == told(documents, records)


def test_a_second_reading_that_is_killed_goes_on_at_its_checkpoint(tmp_path: Path) -> None:
    documents, records = plain(40)
    documents[39] |= {"twin": 0, "n": 0}
    records = [record for record in records if record.address != "n:39"]
    rig = rig_of(tmp_path, documents, [*records, String("s:x", b"")], batch_documents=5, window=1)
    rig.begin(Shape.first(40, listed=True))
    rig.full_pass().do(0)
    rig.full_pass().do(1)
    assert "2 addresses" in rig.full_pass().close().note
    rig.read, rig.fuse.calls, rig.fuse.at = 0, 0, 12
    with pytest.raises(Killed):
        rig.full_pass().do(2)
    before, rig.fuse.at = rig.read, -1
    assert rig.state.verification.parts(ROUTE)[2].position is not None
    assert rig.outcome(rig.go_on())[:2] == told(documents, [*records, String("s:x", b"")])
    assert 40 <= rig.read < before + 40


def test_more_absent_records_than_cells_are_counted_and_what_is_unknown_is_told(tmp_path: Path) -> None:
    documents = [{"_id": number, "until": 1_000, "twin": number // 2 * 2} for number in range(4_000)]
    rig = rig_of(tmp_path, documents, [], mapper=expiring)
    rig.begin(Shape(b"k" * 16, 8))
    closed = rig.go_on()
    figures, found, _ = rig.outcome(closed)
    assert (figures["records"], figures["expired"], found) == (4_000, 4_000, [])
    assert closed.about["absent_unread"]


def peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_and_state_do_not_grow_with_the_collection(tmp_path: Path) -> None:
    peaks, sizes = [], []
    for number in (16_000, 48_000):
        documents, records = plain(number)
        rig = rig_of(tmp_path / str(number), documents, records, checkpoint_s=0.05)
        rig.begin(Shape.first(number, listed=True))
        peaks.append(peak_mb(rig.go_on))
        sizes.append(max(rig.sizes))
    assert peaks[1] < peaks[0] + 1, peaks
    assert sizes[1] < 1.5 * sizes[0]
