"""The source in memory reads what it was given, as a real one would; its target is judged in test_laws.py."""

from __future__ import annotations

from itertools import pairwise

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.documents.decoding import position
from mappers.redis.records import String
from stores.errors import PermanentError
from stores.memory import MemorySource, MemoryTarget, forget, held

DOCUMENTS = [{"_id": number, "text": str(number)} for number in range(10)] + [{"_id": "a"}, {"_id": None}]


def stored(source: MemorySource, partitions: int = 1) -> list[bytes]:
    return [
        raw for partition in source.split(partitions) for batch in source.read(partition) for raw in batch.documents
    ]


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 7))
def test_partitions_are_disjoint_and_cover_every_document(count: int, partitions: int, batch_documents: int) -> None:
    source = MemorySource([{"_id": number} for number in range(count)], batch_documents=batch_documents)
    cut = source.split(partitions)
    assert 1 <= len(cut) <= partitions
    assert cut[0].lower is None
    assert cut[-1].upper is None
    assert all(one.upper == next_one.lower is not None for one, next_one in pairwise(cut))
    assert [bson.decode(raw)["_id"] for raw in stored(source, partitions)] == list(range(count))
    for batch in (batch for partition in cut for batch in source.read(partition)):
        assert 1 <= len(batch.documents) <= batch_documents
        assert batch.position == position(batch.documents[-1])


@given(st.integers(1, 5), st.integers(1, 4), st.data())
def test_reading_after_a_position_gives_the_rest(partitions: int, batch_documents: int, data: st.DataObject) -> None:
    source = MemorySource(DOCUMENTS, batch_documents=batch_documents)
    partition = data.draw(st.sampled_from(source.split(partitions)))
    batches = list(source.read(partition))
    read = data.draw(st.integers(1, len(batches)))
    rest = source.read(partition, after=batches[read - 1].position)
    documents = [raw for batch in batches for raw in batch.documents]
    assert [raw for batch in rest for raw in batch.documents] == documents[read * batch_documents :]


def test_bytes_are_given_back_as_they_are() -> None:
    raw = bson.encode({"_id": 1.0, "": float("nan")})
    assert stored(MemorySource([raw])) == [raw]


def test_documents_are_counted_by_the_type_of_their_id() -> None:
    source = MemorySource(DOCUMENTS)
    assert source.count_by_type() == {"int": 10, "string": 1, "null": 1}
    assert source.estimate() == 12


def test_a_position_of_another_source_is_refused() -> None:
    source = MemorySource(DOCUMENTS)
    with pytest.raises(PermanentError) as caught:
        list(source.read(source.split(1)[0], after=bson.encode({"_id": 99})))
    assert caught.value.code == "E-MEM-POSITION"


@pytest.mark.parametrize("documents", [[{"a": 1}], [{"_id": 1}, {"_id": 1}]], ids=["no id", "one id twice"])
def test_documents_that_a_collection_cannot_hold_are_refused(documents: list[dict[str, int]]) -> None:
    with pytest.raises(ValueError, match="document"):
        MemorySource(documents)


def test_a_place_that_was_forgotten_has_another_identity_and_nothing_in_it(unique: str) -> None:
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), unique)
    first = target.prepare()
    target.write([String("k", b"v")])
    forget(unique)
    assert target.prepare() != first
    assert held(unique) == {}
    forget(unique)


def test_an_unprepared_place_is_an_error_and_not_an_empty_one(unique: str) -> None:
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), unique)
    with pytest.raises(PermanentError) as caught:
        target.read(["k"])
    assert caught.value.code == "E-MEM-UNPREPARED"
