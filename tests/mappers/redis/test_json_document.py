"""JSON documents for Redis: what they hold, and when two are the same."""

from __future__ import annotations

from typing import Any

import bson
import orjson
import pytest
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from strategies import documents

from mappers.contract import Losses, MappingError
from mappers.documents.decoding import decode
from mappers.lossless import restore
from mappers.redis.json_document import Json, JsonMapper
from mappers.redis.string import StringMapper


def made(document: Any, **options: Any) -> Json:
    (record,) = JsonMapper(JsonMapper.Options(**options), "route", Losses())(document)
    assert isinstance(record, Json)
    return record


@given(documents())
def test_a_json_document_is_the_text_of_the_string_mapper(document: Any) -> None:
    try:
        (string,) = StringMapper(StringMapper.Options(), "route", Losses())(document)
    except MappingError:
        with pytest.raises(MappingError):
            made(document)
        return
    record = made(document)
    assert (record.key, record.value) == (string.key, string.value)


def test_a_key_follows_its_template_and_expiry() -> None:
    record = made(
        {"_id": 1, "at": DatetimeMS(5), "n": Int64(2**53 + 1)}, key="x:{_id}", expires="at", id_encoding="plain"
    )
    assert (record.address, record.expires_at_ms) == ("x:1", 5)
    assert orjson.loads(record.value)["n"] == 2**53 + 1
    assert b"$raw" not in record.value
    with pytest.raises(ValueError, match="key: "):
        made({"_id": 1}, key="constant")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":[2]}', b'{ "b": [2], "a": 1.0 }', True),
        (b'{"a":100000.0}', b'{"a":1e5}', True),
        (b'{"a":1.2345678901234568e17}', b'{"a":123456789012345680.0}', True),
        (b'{"a":0.1}', b'{"a":0.10000000149011612}', False),
        (b'{"a":-0.0}', b'{"a":0.0}', False),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}', False),
        (b'{"a":123456789012345678901234567890}', b'{"a":1.2345678901234568e29}', False),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}', False),
        (b'{"a":123456789012345680000.0}', b'{"a":1.2345678901234568e20}', True),
        (b'{"a":[1,2]}', b'{"a":[2,1]}', False),
        (b'{"a":"1"}', b'{"a":1}', False),
        (b'{"a":null}', b"{}", False),
        (b'{"a":true}', b'{"a":1}', False),
        (b"no json", b"no  json", False),
    ],
)
def test_documents_are_the_same_exactly_if_their_values_are(one: bytes, other: bytes, same: bool) -> None:
    assert (Json("k", one).canonical() == Json("k", other).canonical()) is same
    assert Json("k", one).canonical() != Json("k", one, 5).canonical()


def test_a_lossless_document_gives_its_bytes_back() -> None:
    raw = bson.encode({"_id": ObjectId(), "n": 1})
    assert restore(made(decode(raw), fidelity="lossless")) == raw
