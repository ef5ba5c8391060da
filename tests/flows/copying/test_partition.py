"""Copying in batches with faults of every kind: interrupted and resumed is as if never interrupted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.copying.inflight import InFlight
from flows.copying.partition import copy_partition
from flows.copying.projection import Projection
from flows.verifier.compare import compare
from mappers.contract import Document, Losses, MappingError
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Item
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.records import IndexDocument
from mappers.identity import encode
from mappers.policies import ItemPolicies
from mappers.redis.records import String
from mappers.redis.string import StringMapper
from stores import memory
from stores.contract.journal import Reject, Tally
from stores.contract.source import Batch, Partition
from stores.contract.stop import PolledStop
from stores.contract.target import Prompt, Rejected
from stores.errors import LeaseLost, TransientError
from stores.memory import MemorySource, MemoryTarget


@dataclass
class Notebook:
    """A journal in memory that keeps what was committed, and may fail before or after committing."""

    position: bytes | None = None
    tally: Tally = field(default_factory=Tally)
    rejects: dict[tuple[str, str], Reject] = field(default_factory=dict)
    done: bool = False
    calls: int = 0
    failing: frozenset[int] = frozenset()
    lost: bool = False

    def ensure(self) -> None:
        if self.lost:
            raise LeaseLost("E-LEASE-LOST", "taken over")

    @contextmanager
    def writing(self, documents: Sequence[bytes], /) -> Iterator[None]:
        self.ensure()
        yield

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        self.calls += 1
        if self.calls in self.failing and self.calls % 2:
            raise TransientError("E-STATE-BUSY", "before the commit")
        self.position = position if position is not None else self.position
        self.tally.add(tally)
        self.rejects.update({(reject.id, reject.stage): reject for reject in rejects})
        self.done = done
        if self.calls in self.failing:
            raise TransientError("E-STATE-BUSY", "after the commit")


class FaultyTarget(MemoryTarget):
    """Memory that on the scheduled calls of `write` holds half of the records and then fails; refuses what says so."""

    failing: frozenset[int] = frozenset()
    calls = 0
    lock = threading.Lock()

    def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
        with self.lock:
            self.calls += 1
            fails = self.calls in self.failing
        kept = [record for record in records if b"refuse" not in record.value]
        super().write(kept[: len(kept) // 2] if fails else kept)
        if fails:
            raise TransientError("E-MEM-FAULT", "scheduled")
        return [
            Rejected(index, "E-MEM-REFUSED", "scheduled")
            for index, record in enumerate(records)
            if b"refuse" in record.value
        ]


class FaultySource(MemorySource):
    """A source that fails before it yields on the scheduled batches."""

    failing: frozenset[int] = frozenset()
    batches = 0

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        for batch in super().read(partition, after):
            self.batches += 1
            if self.batches in self.failing:
                raise TransientError("E-SRC-AWAY", "scheduled")
            yield batch


def strings(document: Document) -> Iterator[String]:
    """Map by the document's own wish: dropped, rejected, refused by the target, or one to three records."""
    wish = document["wish"]
    if wish == "reject":
        raise MappingError("E-MAP-VALUE", "wish", "wished for")
    if wish == "crash":
        raise ZeroDivisionError("a bug in the user's mapper")
    for number in range({"drop": 0, "many": 3}.get(wish, 1)):
        yield String(f"{encode(document['_id'])}/{number}", f"{wish} {document['n']}".encode())


def projection() -> Projection:
    return Projection(strings, Losses(), (String,))


WISHES = ("one", "one", "one", "many", "drop", "reject", "crash", "refuse")

documents_ = st.lists(st.sampled_from(WISHES), max_size=60).map(
    lambda wishes: [{"_id": number, "wish": wish, "n": number * 7} for number, wish in enumerate(wishes)]
)
schedules = st.frozensets(st.integers(1, 25), max_size=8)


@settings(max_examples=examples(200))
@given(documents_, st.integers(1, 9), st.integers(1, 4), schedules, schedules, schedules, st.integers(1, 3))
def test_an_interrupted_and_resumed_run_ends_like_an_uninterrupted_one(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[dict[str, Any]],
    batch_documents: int,
    window: int,
    failing_writes: frozenset[int],
    failing_reads: frozenset[int],
    failing_checkpoints: frozenset[int],
    partitions: int,
) -> None:
    def run(target: MemoryTarget, source: MemorySource, books: list[Notebook], parts: Sequence[Partition]) -> None:
        for part, book in zip(parts, books, strict=True):
            for _attempt in range(40):
                if book.done:
                    break
                try:
                    copy_partition(source, projection(), target, book, part, after=book.position, window=window)
                except TransientError:
                    continue
            assert book.done

    def place(name: str, kind: type[MemoryTarget]) -> MemoryTarget:
        memory.forget(name)
        target = kind(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
        target.prepare()
        return target

    calm, faulty = place("calm", FaultyTarget), place("faulty", FaultyTarget)
    assert isinstance(faulty, FaultyTarget)
    faulty.failing = failing_writes
    source = FaultySource(documents, batch_documents=batch_documents)
    parts = source.split(partitions)
    undisturbed = [Notebook() for _ in parts]
    run(calm, MemorySource(documents, batch_documents=batch_documents), undisturbed, parts)
    source.failing = failing_reads
    disturbed = [Notebook(failing=failing_checkpoints) for _ in parts]
    run(faulty, source, disturbed, parts)

    assert memory.held("faulty") == memory.held("calm")
    for book, other in zip(disturbed, undisturbed, strict=True):
        assert book.tally == other.tally
        assert book.rejects == other.rejects
        assert book.tally.read == book.tally.dropped + book.tally.rejected + book.tally.copied
    refused = {name for book in disturbed for name, stage in book.rejects if stage == "write"}
    clean = MemorySource(documents, batch_documents=batch_documents)
    seen = compare(clean, projection(), faulty, refused=refused)
    assert seen is not None
    assert (seen.balance.missing, seen.balance.differs, seen.balance.extra, seen.balance.collides) == (0, 0, 0, 0)
    assert seen.balance.held == sum(book.tally.records for book in disturbed) == len(memory.held("faulty"))


def prepared(name: str) -> MemoryTarget:
    memory.forget(name)
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
    target.prepare()
    return target


def test_the_checkpoint_waits_for_the_oldest_batch_not_the_newest() -> None:
    """R131: batch 1 is held up while batches 2 to 4 are acknowledged; nothing may be recorded meanwhile."""
    released, later = threading.Event(), threading.Semaphore(0)

    class Slow(MemoryTarget):
        def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
            if any(record.key == "n:0/0" for record in records):
                assert released.wait(20)
                raise TransientError("E-MEM-FAULT", "the oldest batch fails after the later ones succeeded")
            answer = super().write(records)
            later.release()
            return answer

    memory.forget("slow")
    target = Slow(MemoryTarget.Connection(), MemoryTarget.Placement(), "slow")
    target.prepare()
    book = Notebook()
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(8)]

    def release_when_the_later_ones_are_written() -> None:
        for _ in range(3):
            assert later.acquire(timeout=20)
        released.set()

    watcher = threading.Thread(target=release_when_the_later_ones_are_written)
    watcher.start()
    with pytest.raises(TransientError):
        copy_partition(MemorySource(documents, batch_documents=2), projection(), target, book, Partition(0), window=4)
    watcher.join()
    assert book.position is None
    assert book.tally.read == 0


def test_no_more_batches_are_in_flight_than_the_window_allows() -> None:
    book, most = Notebook(), 0
    settled: list[Tally] = []
    full = threading.Event()

    class Waiting(MemoryTarget):
        def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
            assert full.wait(20)
            return super().write(records)

    class Counting(MemorySource):
        def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
            nonlocal most
            # Reading, and noting what is acknowledged, are the work of one thread: what is between is in flight.
            for before, batch in enumerate(super().read(partition, after)):
                most = max(most, before - len(settled))
                if before == 3:
                    full.set()
                yield batch

    memory.forget("window")
    target = Waiting(MemoryTarget.Connection(), MemoryTarget.Placement(), "window")
    target.prepare()
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(24)]
    source = Counting(documents, batch_documents=2)
    copy_partition(source, projection(), target, book, Partition(0), window=3, copied=settled.append)
    assert most == 3


class PromptTarget(FaultyTarget, Prompt):
    """A target that says that its answers come at once, up to a call."""

    prompt = True
    waits_from = 10**9
    threads: list[int]

    def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
        self.threads.append(threading.get_ident())
        self.prompt = len(self.threads) < self.waits_from
        return super().write(records)


def prompt(name: str) -> PromptTarget:
    memory.forget(name)
    target = PromptTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
    target.threads = []
    target.prepare()
    return target


def test_a_target_that_answers_at_once_is_written_to_by_the_thread_that_maps_until_it_does_not() -> None:
    target, book = prompt("prompt"), Notebook()
    target.waits_from = 4
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(20)]
    copy_partition(MemorySource(documents, batch_documents=2), projection(), target, book, Partition(0), window=3)
    assert target.threads[:4] == [threading.get_ident()] * 4
    assert threading.get_ident() not in target.threads[4:]
    assert book.done
    assert len(memory.held("prompt")) == book.tally.copied == 20


def test_what_was_acknowledged_before_a_prompt_target_failed_is_on_record() -> None:
    target, book = prompt("prompt"), Notebook()
    target.failing = frozenset((4,))
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(20)]
    source = MemorySource(documents, batch_documents=2)
    with pytest.raises(TransientError, match="scheduled"):
        copy_partition(source, projection(), target, book, Partition(0))
    assert book.tally.read == 6  # Three batches; no checkpoint was due after the first.
    copy_partition(source, projection(), target, book, Partition(0), after=book.position, done=book.tally.read)
    assert book.tally.read == 20 == len(memory.held("prompt"))


def test_batches_in_flight_when_the_source_fails_are_on_record_once_they_are_acknowledged() -> None:
    failed = threading.Event()

    class Waiting(MemoryTarget):
        def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
            assert failed.wait(20)
            return super().write(records)

    class Breaking(MemorySource):
        def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
            for number, batch in enumerate(super().read(partition, after)):
                if number == 3:
                    failed.set()
                    raise TransientError("E-SRC-AWAY", "three batches are in flight")
                yield batch

    memory.forget("broken")
    target, book = Waiting(MemoryTarget.Connection(), MemoryTarget.Placement(), "broken"), Notebook()
    target.prepare()
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(20)]
    with pytest.raises(TransientError, match="three batches"):
        copy_partition(Breaking(documents, batch_documents=2), projection(), target, book, Partition(0), window=4)
    assert book.tally.read == 6 == len(memory.held("broken"))


def test_what_is_acknowledged_behind_a_batch_that_failed_is_not_in_the_checkpoint() -> None:
    """R131: a run that resumes reads from the failed batch on and writes those behind it again."""
    behind = threading.Semaphore(0)

    class SecondFails(MemoryTarget):
        def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
            if any(record.key == "n:2/0" for record in records):
                assert all(behind.acquire(timeout=20) for _ in range(3))
                raise TransientError("E-MEM-FAULT", "the second batch")
            answer = super().write(records)
            behind.release()
            return answer

    memory.forget("gap")
    target, book = SecondFails(MemoryTarget.Connection(), MemoryTarget.Placement(), "gap"), Notebook()
    target.prepare()
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(8)]
    with pytest.raises(TransientError, match="the second batch"):
        copy_partition(MemorySource(documents, batch_documents=2), projection(), target, book, Partition(0), window=4)
    assert (book.tally.read, len(memory.held("gap"))) == (2, 6)


def test_the_error_that_stopped_a_copy_is_raised_even_if_its_last_checkpoint_fails() -> None:
    target, book = prompt("masked"), Notebook(failing=frozenset((3,)))
    target.failing = frozenset((4,))
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(20)]
    book.calls = 1
    with pytest.raises(TransientError, match="scheduled"):
        copy_partition(MemorySource(documents, batch_documents=2), projection(), target, book, Partition(0))
    assert (book.calls, book.tally.read) == (3, 2)


def test_no_partition_reads_on_while_the_process_has_enough_in_flight() -> None:
    """Of all partitions together; each may have one batch, or it would never come to its end."""
    in_flight = InFlight(limit_bytes=100)
    most: list[int] = []

    class Counting(MemoryTarget):
        def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
            most.append(in_flight.size_bytes)
            return super().write(records)

    memory.forget("enough")
    target = Counting(MemoryTarget.Connection(), MemoryTarget.Placement(), "enough")
    target.prepare()
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(40)]
    source = MemorySource(documents, batch_documents=2)
    books = [Notebook(), Notebook()]
    keys = {"window": 9, "in_flight": in_flight}
    copies = [
        threading.Thread(target=copy_partition, args=(source, projection(), target, book, part), kwargs=keys)
        for book, part in zip(books, source.split(2), strict=True)
    ]
    for each in copies:
        each.start()
    for each in copies:
        each.join(20)
    assert all(book.done for book in books)
    largest = max(len(raw) for batch in source.read(Partition(0)) for raw in batch.documents) * 2
    assert max(most) <= 100 + 2 * largest
    assert in_flight.size_bytes == 0


def test_a_run_whose_lease_is_lost_writes_nothing_more() -> None:
    target = prepared("lost")
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(4)]
    with pytest.raises(LeaseLost):
        copy_partition(MemorySource(documents), projection(), target, Notebook(lost=True), Partition(0))
    assert memory.held("lost") == {}


def test_a_stop_ends_at_a_checkpoint_with_everything_before_it_recorded() -> None:
    target = prepared("stopped")
    documents = [{"_id": number, "wish": "one", "n": number} for number in range(20)]
    book = Notebook()
    source = MemorySource(documents, batch_documents=2)
    asked = iter([False, False, False, True])
    complete = copy_partition(
        source, projection(), target, book, Partition(0), stop=PolledStop(lambda: next(asked), every_s=0)
    )
    assert not complete
    assert not book.done
    assert book.tally.read == 6 == len(memory.held("stopped"))
    assert copy_partition(source, projection(), target, book, Partition(0), after=book.position)
    assert book.tally.read == 20 == len(memory.held("stopped"))


def test_a_failing_mapper_is_told_by_kind_and_line_never_by_its_text() -> None:
    target, book = prepared("crash"), Notebook()
    copy_partition(MemorySource([{"_id": 1, "wish": "crash", "n": 1}]), projection(), target, book, Partition(0))
    (reject,) = book.rejects.values()
    assert (reject.id, reject.stage, reject.code) == ("n:1", "map", "E-MAP-FAILED")
    assert "ZeroDivisionError" in reject.reason
    assert Path(__file__).name in reject.reason
    assert "user's mapper" not in reject.reason


def test_a_mapper_that_gives_another_stores_record_is_a_reject() -> None:
    target, book = prepared("foreign"), Notebook()
    foreign = Projection(lambda _document: [object()], Losses(), (String,))  # type: ignore[list-item]
    copy_partition(MemorySource([{"_id": 1}]), foreign, target, book, Partition(0))
    (reject,) = book.rejects.values()
    assert reject.code == "E-MAP-RECORD"
    assert memory.held("foreign") == {}


def test_losses_of_a_rejected_document_do_not_count() -> None:
    losses = Losses()

    def lossy(document: Document) -> list[String]:
        losses.add("rounded")
        if document["_id"] % 2:
            raise MappingError("E-MAP-VALUE", "", "odd")
        return [String(f"k{document['_id']}", b"")]

    target, book = prepared("lossy"), Notebook()
    source = MemorySource([{"_id": number} for number in range(5)], batch_documents=2)
    copy_partition(source, Projection(lossy, losses, (String,)), target, book, Partition(0))
    assert book.tally.losses == {"rounded": 3}


@pytest.mark.parametrize("mapper", ["string", "document", "item"])
def test_a_document_nested_too_deeply_to_encode_is_rejected_with_its_path(mapper: str) -> None:
    """Of each encoder: JSON of Redis and of Elasticsearch, and of what DynamoDB writes as JSON beyond its levels."""
    maps: dict[str, tuple[Any, type[Any]]] = {
        "string": (StringMapper(StringMapper.Options(), "r", Losses()), String),
        "document": (DocumentMapper(DocumentMapper.Options(), "r", Losses()), IndexDocument),
        "item": (
            ItemMapper(ItemMapper.Options(values=ItemPolicies(depth_overflow="json_string")), "r", Losses()),
            Item,
        ),
    }
    for name, levels in (("objects", 300), ("arrays", 300), ("both", 250)):
        deep: Any = 1
        for _ in range(levels):
            deep = {"objects": {"o": deep}, "arrays": [deep], "both": {"o": [deep]}}[name]
        made = Projection(maps[mapper][0], Losses(), (maps[mapper][1],)).map(bson.encode({"_id": 7, "a": {"b": deep}}))
        assert isinstance(made, Reject)
        assert (made.id, made.code) == ("n:7", "E-MAP-DEPTH")
        assert made.field.startswith({"objects": "a.b.o.o", "arrays": "a.b.0.0", "both": "a.b.o.0"}[name])
        assert "levels deep" in made.reason


def test_an_id_nested_too_deeply_to_encode_is_a_reject_with_a_name_of_its_own() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"o": deep}
    made = Projection(DocumentMapper(DocumentMapper.Options(), "r", Losses()), Losses(), (IndexDocument,)).map(
        bson.encode({"_id": deep})
    )
    assert isinstance(made, Reject)
    assert (made.id.partition(":")[0], made.code) == ("unknown", "E-MAP-DEPTH")
