"""Two contents that differ are told apart by path and kind; two that are equal never are."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from mappers.compare.differences import KINDS, differences, source_type
from mappers.compare.record_tree import joined, kind_of, shown, tree
from mappers.contract import Comparable, Record
from mappers.dynamodb.records import Item
from mappers.elasticsearch.records import IndexDocument
from mappers.redis.json_document import Json
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from mappers.tree import Elements, Leaf, Names


def text(value: Any, **more: Any) -> String:
    return String("k", json.dumps(value, separators=(",", ":")).encode(), **more)


def item(**attributes: Any) -> Item:
    return Item("a", json.dumps({"_id": {"S": "o:1"}, **attributes}).encode())


def document(**fields: Any) -> IndexDocument:
    return IndexDocument("1", json.dumps(fields).encode())


GOLDEN: list[tuple[str, Record, Record, set[str]]] = [
    ("a field that is gone", document(a=1, b={"c": 2}), document(a=1, b={}), {"b.c missing"}),
    ("a field too many", document(a=1), document(a=1, b=None), {"b extra"}),
    ("null is a value", document(a=None), document(), {"a missing"}),
    ("a number as text", document(zip=1234), document(zip="1234"), {"zip type"}),
    ("an object for a text", document(a="x"), document(a={"b": "x"}), {"a type"}),
    ("a whole number as double", document(a=1), document(a=1.0), {"a type"}),
    ("another text", document(a="whole text"), document(a="whole"), {"a value"}),
    ("another whole number, near", document(a=10_000_001), document(a=10_000_002), {"a value"}),
    ("a bool is no number", document(a=True), document(a=1), {"a type"}),
    ("a whole number kept as double", document(a=2**53 + 1), document(a=2**53), {"a precision"}),
    ("a double kept as float", document(a=0.1), document(a=0.10000000149011612), {"a precision"}),
    ("another double", document(a=0.1), document(a=0.11), {"a value"}),
    ("a zero's sign", document(a=0.0), document(a=-0.0), {"a value"}),
    (
        "a date cut to seconds",
        document(a="2026-01-01T00:00:00.123Z"),
        document(a="2026-01-01T00:00:00Z"),
        {"a precision"},
    ),
    ("another date", document(a="2026-01-01T00:00:00.123Z"), document(a="2026-01-01T01:00:00Z"), {"a value"}),
    ("elements swapped", document(tags=["x", "y"]), document(tags=["y", "x"]), {"tags order"}),
    ("objects swapped", document(l=[{"a": 1}, {"a": 2}]), document(l=[{"a": 2}, {"a": 1}]), {"l order"}),
    ("an element changed", document(l=[{"a": 1}, {"a": 2}]), document(l=[{"a": 1}, {"a": 3}]), {"l.1.a value"}),
    ("an element gone", document(l=[1, 2, 3]), document(l=[1, 2]), {"l.2 missing"}),
    ("an element too many", document(l=[1]), document(l=[1, 2]), {"l.1 extra"}),
    ("an attribute's type", item(n={"N": "5"}), item(n={"S": "5"}), {"n type"}),
    ("an attribute's digits", item(n={"N": "0.12345678901"}), item(n={"N": "0.1234567"}), {"n precision"}),
    (
        "inside maps and lists",
        item(m={"M": {"l": {"L": [{"S": "x"}]}}}),
        item(m={"M": {"l": {"L": []}}}),
        {"m.l.0 missing"},
    ),
    ("a set's members", item(s={"SS": ["a", "b"]}), item(s={"SS": ["a", "c"]}), {"s value"}),
    ("names in a string", text({"a": 1, "b": 2}), text({"b": 2, "a": 1}), {" order"}),
    ("names deep in a string", text({"o": {"a": 1, "b": 2}}), text({"o": {"b": 2, "a": 1}}), {"o order"}),
    ("names in JSON of Redis have no order", Json("k", b'{"a":1,"b":2}'), Json("k", b'{"b":3,"a":1}'), {"b value"}),
    ("a lifted expiry", text({}, expires_at_ms=5), text({}), {"(expires) missing"}),
    ("an expiry that should not be", text({}), text({}, expires_at_ms=5), {"(expires) extra"}),
    ("a stale expiry", text({}, expires_at_ms=5), text({}, expires_at_ms=9), {"(expires) value"}),
    ("bytes for a text", String("k", b"caf\xc3\xa9"), String("k", b"caf\xe9"), {"(value) type"}),
    ("a raw text", String("k", b"abc"), String("k", b"ab"), {"(value) value"}),
    (
        "a hash's field",
        Hash("k", ((b"a", b"1"), (b"b", b'{"c":[1]}'))),
        Hash("k", ((b"b", b'{"c":[2]}'),)),
        {"a missing", "b.c.0 value"},
    ),
    ("a score", Member("k", "m", 1.5), Member("k", "m", 2.5), {"(score) value"}),
    ("a set", Set("k", (b"a", b"b")), Set("k", (b"b", b"c")), {"(members) value"}),
    ("a list's order", List("k", (b"a", b"b")), List("k", (b"b", b"a")), {"(value) order"}),
    ("a list's element", List("k", (b"a", b"b")), List("k", (b"a",)), {"(value).1 missing"}),
    (
        "a stream's entry",
        Entry("k", "1-1", ((b"f", b"1"),)),
        Entry("k", "1-1", ((b"g", b"1"),)),
        {"f missing", "g extra"},
    ),
    ("another type of key", text({"a": 1}), List("k", (b"a",)), {"a missing", "(value) extra"}),
    ("a record of a kind unknown", text({"a": 1}), SetMember("k", "m"), {" type"}),
]


@pytest.mark.parametrize(("expected", "found", "told"), [case[1:] for case in GOLDEN], ids=[case[0] for case in GOLDEN])
def test_each_way_to_differ_has_its_path_and_kind(expected: Record, found: Record, told: set[str]) -> None:
    seen = [*differences(tree(expected), tree(found))]
    assert {f"{joined(one.path)} {one.kind}" for one in seen} == told
    assert all((one.expected is None) == (one.kind == "extra") for one in seen)
    assert all((one.found is None) == (one.kind == "missing") for one in seen)
    assert not [*differences(tree(expected), tree(expected))]


def test_the_golden_cases_show_every_kind() -> None:
    assert {one.rpartition(" ")[2] for *_, told in GOLDEN for one in told} == set(KINDS)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def _content(value: Any) -> Any:
    return tree(IndexDocument("1", json.dumps({"root": value}).encode()))


@given(_JSON, _JSON)
def test_contents_differ_exactly_where_their_canonical_bytes_do(one: Any, other: Any) -> None:
    first, second = ({"root": json.loads(json.dumps(value))} for value in (one, other))
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (not [*differences(_content(one), _content(other))]) == same


def test_the_type_in_the_source_is_told_by_the_stored_bytes() -> None:
    raw = bson.encode(
        {
            "_id": ObjectId(),
            "total": Decimal128("1.10"),
            "items": [{"n": Int64(1)}, {"n": 2}],
            "b": Binary(b"x"),
            "a.b": 1.5,
            "none": None,
        }
    )
    told = {
        ("_id",): "objectId",
        ("total",): "decimal",
        ("items",): "array",
        ("items", "0", "n"): "long",
        ("items", "1", "n"): "int",
        ("items", "2", "n"): "",
        ("b",): "binData",
        ("b", "x"): "",
        ("a.b",): "double",
        ("none",): "null",
        ("gone",): "",
        (): "object",
    }
    assert {path: source_type(raw, path) for path in told} == told
    assert source_type(b"\x09\x00\x00\x00\x02a\x00", ("a",)) == ""


def test_a_value_is_shown_shortened_and_its_kind_without_it() -> None:
    content = Names({"a": Elements([Leaf("bytes", b"\xff"), Leaf("set", (b"x", b"y"))])})
    assert shown(content) == '{"a": ["/w==", ["eA==", "eQ=="]]}'
    assert len(shown(Leaf("text", "x" * 500))) == 100
    assert (kind_of(content), kind_of(content.values["a"]), kind_of(None), shown(None)) == ("object", "array", "", "")


class Note:
    """A record of another distribution's target, which has a method that happens to be called content."""

    address = "n"
    expires_at_ms = None

    def __init__(self, text: str) -> None:
        self.text = text

    def canonical(self) -> bytes:
        return self.text.encode()

    def content(self) -> Any:
        return Names({"text": Leaf("string", self.text)})


class ComparableNote(Note, Comparable):
    """The same, comparable."""


def test_the_content_of_a_record_counts_where_its_class_inherits_comparable() -> None:
    assert tree(Note("a")) == Leaf("Note", b"a")
    ((one,),) = [[*differences(tree(ComparableNote("a")), tree(ComparableNote("b")))]]
    assert (one.path, one.kind) == (("text",), "value")
