"""R1, R2, R30: any document at all, through the real stores and back, is what was mapped; lossless, byte by byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import raw_documents, values

from flows.copying.projection import Projection
from mappers.contract import Losses, Record
from mappers.dynamodb.mapper import ItemMapper
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.lossless import restore
from mappers.policies import HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.redis.hash import HashMapper
from mappers.redis.records import Member, String
from mappers.redis.string import StringMapper
from stores.contract.journal import Reject
from stores.contract.target import Target
from stores.dynamodb.target import DynamoDBTarget
from stores.elasticsearch.target import ElasticsearchTarget
from stores.redis.target import RedisTarget

# What is odd about a document is kept in one way or another, so that every document is written.
KEEPING: dict[str, Any] = {"duplicates": "array", "utf8": "tag_bytes"}

# Each form asks for its server by name, at run time; so the module says what it uses.
pytestmark = pytest.mark.usefixtures("redis_url", "dynamodb_endpoint", "elasticsearch_url")


@dataclass(frozen=True)
class Form:
    """One form of record in one store."""

    target: Target[Any]
    mapper: Any
    options: Any

    def projection(self, fidelity: str) -> Projection:
        losses = Losses()
        options = replace(self.options, fidelity=fidelity)
        return Projection(
            self.mapper(options, "things", losses),
            losses,
            self.target.records,
            anomalies=options.values,
            lossless=fidelity == "lossless",
        )


@pytest.fixture
def redis(redis_url: str, unique: str) -> Iterator[Target[Any]]:
    yield from opened(RedisTarget(RedisTarget.Connection(url=redis_url), RedisTarget.Placement(), unique))


@pytest.fixture
def string(redis: Target[Any], unique: str) -> Form:
    return Form(redis, StringMapper, StringMapper.Options(key=f"{unique}:{{_id}}", values=JsonPolicies(**KEEPING)))


@pytest.fixture
def hash_(redis: Target[Any], unique: str) -> Form:
    return Form(redis, HashMapper, HashMapper.Options(key=f"{unique}:{{_id}}", values=HashPolicies(**KEEPING)))


@pytest.fixture
def item(dynamodb_endpoint: str, unique: str) -> Iterator[Form]:
    connection = DynamoDBTarget.Connection(region="eu-west-1", endpoint=dynamodb_endpoint)
    for target in opened(DynamoDBTarget(connection, DynamoDBTarget.Placement(table=unique), "things")):
        yield Form(target, ItemMapper, ItemMapper.Options(values=ItemPolicies(**KEEPING)))


@pytest.fixture
def document(elasticsearch_url: str, unique: str) -> Iterator[Form]:
    connection = ElasticsearchTarget.Connection(url=elasticsearch_url)
    for target in opened(ElasticsearchTarget(connection, ElasticsearchTarget.Placement(index=unique), "things")):
        yield Form(target, DocumentMapper, DocumentMapper.Options(values=IndexPolicies(**KEEPING)))


def opened(target: Any) -> Iterator[Any]:
    target.prepare()
    yield target
    target.close()


def easy(value: Any) -> Any:
    """Return the value with its doubles cut to 14 digits and, but for zeros, to the range 1E-7 to 1E+14."""
    if type(value) is float and math.isfinite(value) and value:
        return float(f"{value:.14g}") if 1e-7 <= abs(value) < 1e14 else math.copysign(1.5, value)
    if isinstance(value, dict):
        return {name: easy(inner) for name, inner in value.items()}
    return [easy(inner) for inner in value] if type(value) is list else value


def written_and_read(form: Form, projection: Projection, batch: list[bytes]) -> list[tuple[bytes, Record, Record]]:
    """Write what the documents map to; return each document's bytes with what was mapped and what was read."""
    expected: dict[str, tuple[bytes, Record]] = {}
    for raw in batch:
        projected = projection.map(raw)
        assert not isinstance(projected, Reject)
        (record,) = projected.records
        expected[record.address] = (raw, record)
    assert form.target.write([record for _, record in expected.values()]) == []
    held = form.target.read(list(expected))
    assert set(held) == set(expected)
    return [(raw, record, held[address]) for address, (raw, record) in expected.items()]


@pytest.mark.parametrize("fidelity", ["native", "lossless"])
@pytest.mark.parametrize("name", ["string", "hash_", "item", "document"])
def test_whatever_is_written_reads_back_as_it_was_mapped(
    name: str, fidelity: str, request: pytest.FixtureRequest
) -> None:
    form: Form = request.getfixturevalue(name)
    projection = form.projection(fidelity)
    # The server that stands in for Elasticsearch reads some doubles of many digits or far exponents one bit beside
    # their value. Elasticsearch gives back the text it was given, so they are left out here (docs/decisions.md).
    value = values().map(easy) if name == "document" else None

    @given(st.lists(raw_documents(value), min_size=1, max_size=12))
    @settings(max_examples=40)
    def holds(batch: list[bytes]) -> None:
        for raw, mapped, read in written_and_read(form, projection, batch):
            assert read.canonical() == mapped.canonical()
            if fidelity == "lossless":
                assert restore(read) == raw

    holds()


@pytest.mark.parametrize("name", ["string", "hash_", "item", "document"])
def test_a_value_changed_in_the_store_is_told_apart(name: str, request: pytest.FixtureRequest) -> None:
    form: Form = request.getfixturevalue(name)
    projection = form.projection("native")
    ((_, one, read),) = written_and_read(form, projection, [bson.encode({"_id": 1, "n": 1.5})])
    projected = projection.map(bson.encode({"_id": 1, "n": 1.25}))
    assert not isinstance(projected, Reject)
    (other,) = projected.records
    assert read.canonical() == one.canonical() != other.canonical()


def test_bytes_of_any_other_kind_are_no_restored_document() -> None:

    for record in (Member("k", "m", 1.0), String("k", b"{}"), String("k", b"plain"), String("k", b'{"$raw":"?"}')):
        with pytest.raises(ValueError, match="holds no"):
            restore(record)
