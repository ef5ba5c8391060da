"""What a comparison says of a target; what seems wrong is looked at twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from flows.copying.projection import Projection
from flows.verifier.compare import compare
from flows.verifier.ledger import Mismatch
from flows.verifier.recheck import Recheck
from mappers.contract import Document, Losses, Record
from mappers.documents.decoding import position
from mappers.identity import encode
from mappers.redis.records import String
from stores import memory
from stores.errors import TransientError
from stores.memory import MemorySource, MemoryTarget


def one_each(document: Document) -> Iterator[String]:
    """Map to one record, at the address of another document if it says so."""
    yield String(encode(document.get("twin", document["_id"])), str(document["n"]).encode())


def projection() -> Projection:
    return Projection(one_each, Losses(), (String,))


def place(name: str, records: Sequence[Record] = ()) -> MemoryTarget:
    memory.forget(name)
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
    target.prepare()
    target.write(records)
    return target


def right(documents: Sequence[Mapping[str, Any]]) -> list[String]:
    return [record for document in documents for record in one_each(document)]


class Moving(MemorySource):
    """A source whose documents change as they are fetched again: each look takes what the next step says."""

    steps: Iterator[Callable[[dict[int, Any]], object]] = iter(())
    advanced: int = 0

    def __init__(self, documents: dict[int, Any]) -> None:
        self.now = documents
        super().__init__([{"_id": number, "n": n} for number, n in documents.items()])

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        next(self.steps, lambda _: None)(self.now)
        raws = MemorySource([{"_id": number, "n": n} for number, n in self.now.items()])
        return raws.fetch(ids)

    def advance(self, time: int) -> None:
        self.advanced = time


@dataclass
class Synced:
    """Sync as a test tells it: how far it has come, and what it saw change."""

    target: MemoryTarget
    times: Iterator[int] = field(default_factory=itertools.count)
    reached: int = 10**9
    touched: Sequence[bytes] = ()
    applying: Sequence[Record] = ()
    asked: int = 0

    def now(self) -> int:
        return next(self.times)

    def has_passed(self, time: int) -> bool:
        self.asked += 1
        self.target.write(self.applying)
        return self.reached >= time

    def touched_since(self, ids: Sequence[bytes], time: int) -> Sequence[bytes]:
        seen, self.touched = self.touched, ()
        return seen

    def is_pending(self, address: str, at: bytes) -> bool:
        return False


def where(number: int) -> bytes:
    at = position(MemorySource([{"_id": number}])._documents[0])
    assert at is not None
    return at


def record(number: int, n: Any) -> String:
    return String(f"n:{number}", str(n).encode())


def looked(source: Moving, target: MemoryTarget, *seeming: Mismatch, **keys: Any) -> list[str]:
    return [one.kind for one in Recheck(source, projection(), target, **keys)(seeming)]


def test_an_update_between_the_two_reads_is_no_mismatch() -> None:
    source = Moving({1: "new", 2: "new", 3: "gone"})
    source.steps = iter([lambda now: now.pop(3)])
    target = place("moving", [record(1, "new"), record(2, "old")])
    seeming = [Mismatch("differs", "n:1", where(1)), Mismatch("differs", "n:2", where(2))]
    seeming += [Mismatch("missing", "n:3", where(3)), Mismatch("extra", "n:9"), Mismatch("extra", "n:2")]
    assert looked(source, target, *seeming) == ["same", "differs", "settled", "gone", "differs"]


def test_a_document_that_keeps_changing_is_unsettled_and_never_equal() -> None:
    source = Moving({1: 0, 2: 0})
    ticks = itertools.count(1)
    source.steps = iter(lambda: lambda now: now.update({1: next(ticks)}), None)
    target = place("moving", [record(1, "stale"), record(2, "stale")])
    seeming = [Mismatch("differs", "n:1", where(1)), Mismatch("differs", "n:2", where(2))]
    assert looked(source, target, *seeming) == ["unsettled", "differs"]


def test_a_difference_counts_only_once_sync_has_passed_the_time_of_the_look() -> None:
    target = place("moving", [record(1, "old"), record(2, "old")])
    source = Moving({1: "new", 2: "new"})
    seeming = [Mismatch("differs", "n:1", where(1)), Mismatch("differs", "n:2", where(2))]
    behind = Synced(target, times=itertools.count(5), reached=0)
    assert looked(source, target, *seeming, progress=behind, patience_s=0.05) == ["unsettled", "unsettled"]
    assert source.advanced >= 5  # What is read is of that time or later (R102).
    caught_up = Synced(target, applying=[record(1, "new")])
    assert looked(source, target, *seeming, progress=caught_up) == ["same", "differs"]
    assert caught_up.asked == 1


def test_a_change_that_sync_saw_meanwhile_asks_for_another_look() -> None:
    target = place("moving", [record(1, "old")])
    source = Moving({1: "new"})
    seeming = Mismatch("differs", "n:1", where(1))
    changed = Synced(target, touched=[where(1)])
    assert looked(source, target, seeming, progress=changed) == ["differs"]
    assert changed.asked == 2
    always = Synced(target)
    always.touched_since = lambda ids, time: [where(1)]  # type: ignore[method-assign]
    assert looked(source, target, seeming, progress=always) == ["unsettled"]


class Silent(MemoryTarget):
    """Does not answer the scheduled reads."""

    silent: frozenset[int] = frozenset()
    reads = 0

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        self.reads += 1
        if self.reads in self.silent:
            raise TransientError("E-MEM-AWAY", "no answer")
        return super().read(addresses)


def silent(name: str, reads: frozenset[int], documents: Sequence[Mapping[str, Any]]) -> Silent:
    memory.forget(name)
    target = Silent(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
    target.prepare()
    target.write(right(documents))
    target.silent = reads
    return target


def test_what_a_store_does_not_answer_for_is_asked_again_and_else_inconclusive() -> None:
    documents = [{"_id": number, "n": number} for number in range(40)]
    source = MemorySource(documents, batch_documents=10)
    once = compare(source, projection(), silent("silent", frozenset([2]), documents), window=1)
    assert once is not None
    assert (once.balance.held, once.balance.inconclusive) == (40, 0)
    twice = compare(source, projection(), silent("silent", frozenset([2, 5]), documents), window=1)
    assert twice is not None
    assert (twice.balance.held, twice.balance.inconclusive, twice.balance.missing) == (30, 10, 0)
    assert twice.balance.samples["inconclusive"]


def test_a_store_that_is_away_ends_the_pass_instead() -> None:
    documents = [{"_id": number, "n": number} for number in range(80)]
    target = silent("silent", frozenset(range(2, 100)), documents)
    with pytest.raises(TransientError, match="no answer"):
        compare(MemorySource(documents, batch_documents=10), projection(), target, window=1)


def test_what_is_on_record_as_refused_stays_so_at_the_second_look() -> None:
    documents = [{"_id": number, "n": number} for number in range(10)]
    target = silent("silent", frozenset([1]), documents[1:])
    found = compare(MemorySource(documents), projection(), target, refused={"n:0"}, window=1)
    assert found is not None
    assert (found.balance.held, found.balance.missing, found.balance.refused) == (9, 0, 1)


def test_an_extra_that_has_expired_is_none() -> None:
    target = place("lapsed", [record(0, 0), String("n:old", b"", expires_at_ms=1_000)])
    found = compare(MemorySource([{"_id": 0, "n": 0}]), projection(), target)
    assert found is not None
    assert (found.balance.extra, found.balance.lapsed) == (0, 1)
