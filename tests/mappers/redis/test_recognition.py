"""A mapper knows each record that it makes of any document again, and what other programs keep under its prefix not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ids, scalars, texts

from flows.plan.plugins import mapper_type
from mappers.contract import Losses, MappingError, Recognizing, Straight
from mappers.documents.decoding import CODEC_MS, decode
from mappers.redis import Entry, Hash, Json, List, Member, Set, SetMember, String
from mappers.redis.recognition import possible_ids
from mappers.values.key_templates import Template

ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("string", {}),
    ("string", {"key": "user:{_id}"}),
    ("string", {"key": "a:{name}:{_id}:b", "values": None}),
    ("string", {"key": "a:{in.name}/{_id}"}),
    ("string", {"fidelity": "lossless"}),
    ("string", {"format": "msgpack"}),
    ("string", {"format": "msgpack", "key": "a:{name}é{_id}"}),
    ("string", {"format": "raw", "value": "name"}),
    ("counter", {"value": "n", "key": "a:{{name}}:n"}),
    ("hash", {}),
    ("hash", {"key": "a:{name}:{in.name}"}),
    ("hash", {"fidelity": "lossless", "key": "a:{_id}:x"}),
    ("json", {"key": "a:{name}:{_id}"}),
    ("sorted_set", {"score": "n"}),
    ("sorted_set", {"score": "n", "member": "name", "key": "top:{name}"}),
    ("geo", {"location": "at"}),
    ("set", {"values": "list"}),
    ("set", {"member": "_id", "key": "tag:{list}", "each": "list"}),
    ("list", {"values": "list"}),
    ("stream", {"entry": "_id"}),
    ("stream", {"entry": "n"}),
    ("stream", {"entry": "when", "key": "a:{name}"}),
]
PLAIN = ("string", "objectId", "int", "long", "binData")


def made(name: str, options: Mapping[str, Any]) -> Any:
    kind = mapper_type(name)
    given_ = {key: value for key, value in options.items() if value is not None}
    return kind(kind.Options(**given_), "route", Losses())


def document(identity: Any, name: Any) -> dict[str, Any]:
    return {
        "_id": identity,
        "name": name,
        "in": {"name": name, "$in": 1},
        "n": 7,
        "list": ["a", name] if isinstance(name, str) else ["a"],
        "when": datetime(2020, 1, 1, tzinfo=UTC),
        "at": {"type": "Point", "coordinates": [180, 85.05112878]},
    }


def records_of(mapper: Any, content: dict[str, Any]) -> list[Any]:
    """What the mapper makes of the document as it is stored, and what it makes straight from its bytes."""
    raw = bson.encode(content)
    try:
        records = [*mapper(decode(raw, CODEC_MS))]
    except MappingError:
        return []
    if isinstance(mapper, Straight):
        records += [record for record in mapper.straight([raw]) if record is not None]
    return records


@pytest.mark.parametrize(("name", "options"), ROUTES)
@settings(max_examples=examples(60))
@given(identity=ids(), field=st.one_of(texts(), scalars()))
def test_whatever_a_mapper_makes_it_recognizes(
    name: str, options: Mapping[str, Any], identity: Any, field: Any
) -> None:
    mapper = made(name, options)
    assert isinstance(mapper, Recognizing)
    for record in records_of(mapper, document(identity, field)):
        assert mapper.may_have_made(record, ""), record


@pytest.mark.parametrize(("name", "options"), [("string", {}), ("hash", {}), ("string", {"format": "msgpack"})])
@settings(max_examples=examples(60))
@given(identity=st.one_of(texts(), st.integers(-(2**63), 2**63 - 1), st.uuids(), st.binary(min_size=12, max_size=12)))
def test_whatever_a_mapper_with_plain_ids_makes_it_recognizes_by_their_kind(
    name: str, options: Mapping[str, Any], identity: Any
) -> None:
    kind = {str: "string", int: "number", bytes: "objectId"}.get(type(identity), "UUID")
    if kind == "objectId":
        identity = ObjectId(identity)
    elif kind == "UUID":
        identity = bson.Binary.from_uuid(identity)
    elif kind == "number":
        identity = Int64(identity)
    mapper = made(name, {**options, "id_encoding": "plain"})
    for record in records_of(mapper, document(identity, "x")):
        assert mapper.may_have_made(record, kind), record
        assert mapper.may_have_made(record, ""), record


DOC = b'{"_id":"xyz","name":"a"}'
FOREIGN: list[tuple[str, dict[str, Any], Any]] = [
    # The key is none that the template makes.
    ("string", {"key": "user:{_id}"}, String("user:cache:xyz", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:o:5f3b1c2d4e5f60718293a4b", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:n:007", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:s:a{b}", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:s:\udcff", DOC)),
    ("string", {"key": "user:{_id}:x"}, String("user:s:xyz", DOC)),
    ("string", {"key": "user:{name}:{_id}"}, String("user:xyz", DOC)),
    ("string", {"key": "user:{name}:{_id}"}, String("user:a:b:xyz", DOC)),
    ("counter", {"value": "n", "key": "user:{_id}"}, String("user:online", b"12")),
    ("set", {"values": "list", "key": "user:{_id}"}, Set("user:online", (b"a",))),
    ("list", {"values": "list", "key": "user:{_id}"}, List("user:jobs", (b"a",))),
    # The type is another.
    ("string", {"key": "user:{_id}"}, Hash("user:s:xyz", ((b"_id", b"xyz"),))),
    ("list", {"values": "list", "key": "user:{_id}"}, Set("user:s:xyz", (b"a",))),
    # The content is no document's, or that of another key.
    ("string", {"key": "user:{_id}"}, String("user:s:xyz", b"locked by worker 3")),
    ("string", {"key": "user:{_id}"}, String("user:s:xyz", b"{}")),
    ("string", {"key": "user:{_id}"}, String("user:s:xyz", b'["_id"]')),
    ("string", {"key": "user:{_id}"}, String("user:s:other", DOC)),
    ("string", {"key": "user:{_id}"}, String("user:n:5", b'{"_id":6}')),
    ("string", {"key": "user:{_id}"}, String("user:z:", DOC)),
    ("string", {"key": "user:{name}:{_id}"}, String("user:b:s:xyz", DOC)),
    ("string", {"key": "user:{_id}", "format": "msgpack"}, String("user:s:xyz", b"\x81\xa3_id\xa1x")),
    ("string", {"key": "user:{_id}", "format": "msgpack"}, String("user:s:xyz", b"text")),
    ("json", {"key": "user:{_id}"}, Json("user:s:xyz", b'{"name":"a"}')),
    ("hash", {"key": "user:{_id}"}, Hash("user:s:xyz", ((b"count", b"1"),))),
    ("hash", {"key": "user:{_id}"}, Hash("user:s:xyz", ((b"_id", b"other"),))),
    ("string", {"key": "user:{_id}"}, String("user:d:" + "9" * 5_000, b'{"_id":"x"}')),
    ("string", {"key": "user:{_id}"}, String("user:n:1E+999999999", b'{"_id":"x"}')),
    ("counter", {"value": "n", "key": "user:{_id}"}, String("user:s:xyz", b"1.5")),
    ("sorted_set", {"score": "n"}, Member("route", "alice", 1.0)),
    ("sorted_set", {"score": "n", "key": "top:{name}"}, Member("top", "s:a", 1.0)),
    ("geo", {"location": "at"}, Member("route", "s:a", 1.5)),
    ("set", {"member": "_id"}, SetMember("route", "alice")),
    ("stream", {"entry": "when"}, Entry("route", "1577836800000-0", ((b"event", b"login"),))),
    ("stream", {"entry": "when"}, Entry("route", "1577836800000-0", ((b"_id", b"xyz"),))),
    ("stream", {"entry": "_id"}, Entry("route", "5-0", ((b"_id", b"6"),))),
    ("stream", {"entry": "when"}, Entry("route", "5-1", ((b"_id", b"1E+999999999"),))),
]


@pytest.mark.parametrize(("name", "options", "record"), FOREIGN)
def test_what_no_document_would_make_is_not_recognized(name: str, options: Mapping[str, Any], record: Any) -> None:
    assert not made(name, options).may_have_made(record, "")


def test_plain_ids_are_recognized_by_their_kind_and_their_content() -> None:
    raw = made("string", {"key": "user:{_id}", "id_encoding": "plain", "format": "raw", "value": "name"})
    assert raw.may_have_made(String("user:" + "5" * 24, b"x"), "objectId")
    assert not raw.may_have_made(String("user:cache:xyz", b"x"), "objectId")
    assert not raw.may_have_made(String("user:cache:xyz", b"x"), "number")
    assert not raw.may_have_made(String("user:", b"x"), "string")
    # Nothing tells what the bytes of a field are of, so this is what a plan with such keys must live with.
    assert raw.may_have_made(String("user:cache:xyz", b"x"), "string")
    assert (raw.takes_any("string"), raw.takes_any("objectId")) == (True, False)

    whole = made("string", {"key": "user:{_id}", "id_encoding": "plain"})
    assert whole.may_have_made(String("user:cache:xyz", b'{"_id":"cache:xyz"}'), "string")
    assert not whole.may_have_made(String("user:cache:xyz", DOC), "string")
    assert not whole.takes_any("string")


@pytest.mark.parametrize(
    ("name", "options", "takes_any"),
    [
        ("counter", {"value": "n", "key": "a:{name}"}, True),
        ("counter", {"value": "n", "key": "a:{_id}"}, False),
        ("set", {"member": "name"}, True),
        ("set", {"member": "_id"}, False),
        ("sorted_set", {"score": "n", "id_encoding": "plain"}, True),
        ("geo", {"location": "at", "member": "name"}, True),
        ("list", {"values": "list", "key": "a:{name}"}, True),
        ("hash", {"key": "a:{name}"}, False),
        ("json", {"key": "a:{name}"}, False),
        ("stream", {"entry": "n"}, False),
    ],
)
def test_a_mapper_says_where_nothing_tells(name: str, options: Mapping[str, Any], takes_any: bool) -> None:
    assert made(name, options).takes_any("") is takes_any


def test_the_text_of_a_field_says_which_ids_it_may_be_of() -> None:
    ids = possible_ids(b"1")
    assert ids is not None
    assert {"s:1", "n:1"} <= {*ids}
    assert possible_ids(b'{"$binary":{}}') is None
    assert "d:1577836800000" in (possible_ids(b"2020-01-01T00:00:00.000Z") or ())


@settings(max_examples=examples(100))
@given(name=texts(), city=texts(), identity=ids())
def test_a_template_finds_in_its_keys_what_it_filled_in(name: str, city: str, identity: Any) -> None:
    template = Template.parse("k:{name}::{{city}}-{_id}!")
    content = {"name": name, "city": city, "_id": identity}
    try:
        key = template.fill(content)
    except (MappingError, UnicodeEncodeError):
        return
    found = template.match(key)
    assert found is not None
    assert (found["name"], found["city"]) == (name, city)
    assert template.match(key + "x") is None
    assert template.match("x" + key) is None
