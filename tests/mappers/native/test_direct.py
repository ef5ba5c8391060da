"""The compiled way: the record that decoding and mapping make, byte by byte, or none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st
from strategies import ODD_ELEMENTS, dates, decimals, documents, doubles, integers, object_ids, raw_documents, texts

from flows.copying.projection import Projection
from mappers.contract import Losses, MappingError, Record, Straight
from mappers.documents.decoding import CODEC, CODEC_MS
from mappers.documents.irregular import decode_all
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Key, KeyAttribute
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.expiry import Expires, IndexExpires
from mappers.native import extension as compiled
from mappers.policies import HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.redis.hash import HashMapper
from mappers.redis.json_document import JsonMapper
from mappers.redis.records import String
from mappers.redis.string import StringMapper
from mappers.values import fast_path as direct
from stores.contract.source import Batch
from stores.errors import PermanentError

pytestmark = pytest.mark.skipif(
    compiled.MODULE is None and shutil.which("c++") is None and "CI" not in os.environ,
    reason="no C++ compiler here, so the compiled module was not built",
)


def made(kind: Any, options: dict[str, Any]) -> Any:
    return kind(kind.Options(**options), "things", Losses())


MAPPERS: dict[str, Callable[[], Any]] = {
    name: partial(made, kind, options)
    for name, kind, options in (
        ("string", StringMapper, {}),
        ("string with numbers as text", StringMapper, {"values": JsonPolicies(int53="string", nonfinite="as_null")}),
        ("string by fields", StringMapper, {"key": "a:{a}:{b.c}", "expires": Expires("b.c", 60)}),
        ("json", JsonMapper, {}),
        ("hash", HashMapper, {}),
        ("hash without null", HashMapper, {"values": HashPolicies(nulls="omit", int53="string")}),
        ("document", DocumentMapper, {"census": "none"}),
        ("document by paths", DocumentMapper, {"values": IndexPolicies(name_escape="paths", int53="string")}),
        ("document by date", DocumentMapper, {"index": "things-{b:%Y.%m}", "routing": "a"}),
        ("item", ItemMapper, {}),
        ("item with zeros", ItemMapper, {"values": ItemPolicies(decimal_scale="tag", neg_zero="zero")}),
        ("item that expires", ItemMapper, {"expires": "b", "ttl_attribute": "a"}),
        ("item by fields", ItemMapper, {"key": Key("a", KeyAttribute("sk", value="S#{b}#{_id}"))}),
        ("item by number", ItemMapper, {"key": Key(KeyAttribute("b", type="N")), "oversize": "split"}),
    )
}
each_mapper = pytest.mark.parametrize("name", MAPPERS)

NAMES = st.sampled_from(["a", "b", "c", "é", 'q"\\', "x y", "\x07", "_id_full", "offramp_id", "__v", "_class"])
PLAIN = st.one_of(
    object_ids(),
    texts(),
    st.text(max_size=3),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63) + 1, 2**63 - 1).map(Int64),
    st.floats(-9e14, 9e14).filter(lambda some: some == 0 or abs(some) > 1e-3).map(lambda some: some + 0.0),
    st.decimals(-(10**9), 10**9, places=2).map(lambda some: Decimal128(some + 0)),
    st.booleans(),
    st.none(),
    st.integers(-62_135_596_800_000, 253_402_300_799_999).map(DatetimeMS),
    st.binary(max_size=20),
    st.binary(min_size=16, max_size=16).map(lambda some: Binary(some, 4)),
)
NESTED = PLAIN | st.lists(PLAIN, max_size=12) | st.dictionaries(NAMES, PLAIN | st.lists(PLAIN, max_size=3), max_size=4)


def straight(mapper: Any, raw: bytes) -> Record | None:
    record: Record | None
    (record,) = mapper.straight([raw]) or [None]
    return record


def long_way(mapper: Any, raw: bytes) -> list[Record]:
    """Return what mapping the decoded document gives; raises where it would be rejected."""
    return list(mapper(decode_all(raw, ItemPolicies(), Losses(), CODEC_MS)))


def same(mapper: Any, raw: bytes) -> bool:
    """Tell whether the document was mapped straight; fails where that made another record than the long way."""
    record = straight(mapper, raw)
    if record is not None:
        assert long_way(mapper, raw) == [record]
    return record is not None


def stored(document: dict[str, Any]) -> bytes:
    return bson.encode(document, codec_options=CODEC)


@each_mapper
def test_a_document_of_any_kind_is_mapped_as_on_the_long_way_or_not_at_all(name: str) -> None:
    mapper = MAPPERS[name]()

    @given(raw_documents() | documents().map(stored))
    def holds(raw: bytes) -> None:
        same(mapper, raw)

    holds()


@pytest.mark.parametrize("name", ["string", "json", "hash", "document", "item"])
def test_a_plain_document_is_mapped_straight(name: str) -> None:
    mapper = MAPPERS[name]()

    @given(object_ids(), st.dictionaries(NAMES, NESTED, max_size=8))
    def holds(own: ObjectId, fields: dict[str, Any]) -> None:
        raw = stored({"_id": own} | fields)
        # A name that a record has besides is for the long way to refuse, or not.
        kept = {"item": "_id_full", "document": "offramp_id"}.get(name)
        assert same(mapper, raw) or kept in fields

    holds()


@each_mapper
def test_bytes_changed_anywhere_are_mapped_as_on_the_long_way_or_not_at_all(name: str) -> None:
    mapper = MAPPERS[name]()

    @given(st.dictionaries(NAMES, NESTED, max_size=4), st.data())
    def holds(fields: dict[str, Any], data: st.DataObject) -> None:
        raw = bytearray(stored({"_id": 1} | fields))
        for _ in range(data.draw(st.integers(1, 2))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 255]))
        same(mapper, bytes(raw[: data.draw(st.integers(max(0, len(raw) - 3), len(raw)))]))

    holds()


@each_mapper
def test_numbers_are_written_as_on_the_long_way(name: str) -> None:
    mapper = MAPPERS[name]()

    @given(doubles() | st.floats() | decimals() | integers() | dates())
    def holds(number: Any) -> None:
        same(mapper, stored({"_id": 1, "a": "x", "b": {"c": number}, "c": number}))

    holds()


def _element(kind: int, name: bytes, value: bytes) -> bytes:
    return bytes((kind,)) + name + b"\x00" + value


def _document(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\x00"
    return (len(body) + 4).to_bytes(4, "little") + body


def _stored(*elements: bytes) -> bytes:
    return _document(_element(10, b"_id", b""), *elements)


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


NOT_PLAIN: dict[str, bytes] = {
    **{
        what: stored({"_id": 1, "v": value})
        for what, value in {
            "NaN": float("nan"),
            "infinity": float("-inf"),
            "minus zero": -0.0,
            "a double with an exponent": 1e300,
            "decimal NaN": Decimal128("NaN"),
            "a decimal with an exponent": Decimal128("1E+3"),
            "a small decimal": Decimal128("1E-8"),
            "a decimal past 34 digits": Decimal128.from_bid(b"\xff" * 14 + b"\x41\x30"),
            "a date after the year 9999": DatetimeMS(253_402_300_800_000),
            "regex": Regex("x"),
            "timestamp": Timestamp(1, 1),
            "code": Code("f()"),
            "an old UUID": Binary(bytes(16), 3),
            "a UUID of another length": Binary(bytes(15), 4),
            "a name that looks like a tag": {"$oid": "5f3b1c2d4e5f60718293a4b5"},
            "nested too deep": nested(65),
        }.items()
    },
    "a regex as _id": stored({"_id": Regex("x")}),
    "an odd _id": _document(_element(3, b"_id", _document(_element(10, b"a", b""), _element(10, b"a", b"")))),
    "a name twice": _stored(_element(10, b"a", b""), _element(8, b"a", b"\x01")),
    "_id twice": _document(_element(8, b"_id", b"\x00"), _element(8, b"_id", b"\x01")),
    "a boolean that is neither": _stored(_element(8, b"a", b"\x02")),
    "array keys that do not count": _stored(_element(4, b"a", _document(_element(10, b"1", b"")))),
    "a name that is no UTF-8": _stored(_element(10, b"\xff", b"")),
    "a surrogate": _stored(_element(2, b"a", (4).to_bytes(4, "little") + b"\xed\xa0\x80\x00")),
    "an overlong letter": _stored(_element(2, b"a", (3).to_bytes(4, "little") + b"\xc1\x81\x00")),
    "past the last letter": _stored(_element(2, b"a", (5).to_bytes(4, "little") + b"\xf4\x90\x80\x80\x00")),
    "a text that ends too soon": _stored(_element(2, b"a", (1).to_bytes(4, "little") + b"x\x00")),
    "an object longer than it is": _stored(_element(3, b"a", b"\x06\x00\x00\x00\x00")),
    "an end before the end": _stored(b"\x00\x00"),
    "nothing": b"",
    "a length alone": b"\x05\x00\x00\x00",
    "a length past the end": b"\x06\x00\x00\x00\x00",
    **{f"odd: {what}": _stored(element) for what, element in ODD_ELEMENTS.items()},
}


@pytest.mark.parametrize("what", NOT_PLAIN)
@pytest.mark.parametrize("name", ["string", "hash", "document", "item"])
def test_what_needs_a_look_is_left_to_the_long_way(name: str, what: str) -> None:
    assert straight(MAPPERS[name](), NOT_PLAIN[what]) is None


def test_what_the_names_of_each_store_forbid_is_left_to_the_long_way() -> None:
    for name, left in {
        "item": ["", "%x", "$x"],
        "document": ["", "a.b", "50%", "$x", "_source"],
        "string": ["$x"],
    }.items():
        for field in left:
            assert straight(MAPPERS[name](), stored({"_id": 1, field: 1})) is None, (name, field)
    assert straight(MAPPERS["string"](), stored({"_id": 1, "": 1, "a.b": 2, "50%": 3})) is not None
    # Below the top level Elasticsearch's own names are like any other.
    assert straight(MAPPERS["document"](), stored({"_id": 1, "a": {"_source": 1}})) is not None


def test_nesting_is_taken_as_far_as_the_store_takes_it() -> None:
    for name, deepest in {"item": 31, "string": 64}.items():
        assert same(MAPPERS[name](), stored({"_id": 1, "v": nested(deepest)}))
        assert straight(MAPPERS[name](), stored({"_id": 1, "v": nested(deepest + 1)})) is None


def test_what_a_policy_decides_is_left_to_the_long_way() -> None:
    zeros, without_null = MAPPERS["item with zeros"](), MAPPERS["hash without null"]()
    for text in ("1.10", "100.0", "0.00"):
        assert straight(zeros, stored({"_id": 1, "v": Decimal128(text)})) is None
    assert same(zeros, stored({"_id": 1, "v": Decimal128("1.1")}))
    assert straight(without_null, stored({"_id": 1, "v": None})) is None
    assert same(without_null, stored({"_id": None, "v": {"inner": None}}))


def test_every_month_of_every_kind_of_year_is_written_as_on_the_long_way() -> None:
    day = 86_400_000
    days = [*range(366), *range(19_700, 20_100), *range(-25_600, -25_100), *range(-719_162, 2_932_896, 997)]
    for name in ("string", "hash"):
        mapper = MAPPERS[name]()
        raws = [stored({"_id": 1, "at": DatetimeMS(one * day + one * 997 % day)}) for one in days]
        assert mapper.straight(raws) == [record for raw in raws for record in long_way(mapper, raw)]


@each_mapper
def test_documents_of_a_batch_are_mapped_each_for_itself(name: str) -> None:
    mapper = MAPPERS[name]()

    @given(st.lists(st.dictionaries(NAMES, PLAIN, max_size=4).map(lambda some: stored({"_id": 1} | some)), max_size=5))
    def holds(raws: list[bytes]) -> None:
        assert list(mapper.straight(raws)) == [straight(mapper, raw) for raw in raws]

    holds()


def test_as_many_names_as_can_be_told_apart_are_taken() -> None:
    mapper = MAPPERS["string"]()
    assert straight(mapper, stored({f"name{number}": 1 for number in range(511)} | {"_id": 1})) is not None
    assert straight(mapper, stored({f"name{number}": 1 for number in range(600)} | {"_id": 1})) is None


def test_a_filtered_index_must_see_the_whole_document() -> None:
    options = StringMapper.Options(expires=IndexExpires("at", 60, where='{"kind": "x"}'))
    mapper = StringMapper(options, "things", Losses())
    assert mapper.straight([stored({"_id": 1, "at": DatetimeMS(0), "kind": "x"})]) == ()


def test_a_lossless_document_goes_the_long_way() -> None:
    kinds: Iterable[tuple[Any, dict[str, Any]]] = (
        (StringMapper, {}),
        (JsonMapper, {}),
        (HashMapper, {}),
        (ItemMapper, {}),
        (DocumentMapper, {"census": "none"}),
    )
    for kind, options in kinds:
        mapper: Any = kind(kind.Options(fidelity="lossless", **options), "things", Losses())
        assert not mapper.straight([stored({"_id": 1})]), kind


class Wrong(Straight):
    """A mapper whose compiled way makes other records of some documents."""

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def __call__(self, document: Any, /) -> Sequence[String]:
        return [String(str(document["_id"]), b"right")]

    def straight(self, documents: Sequence[bytes], /) -> Sequence[String]:
        return [
            String(str(bson.decode(raw)["_id"]), b"wrong" if at == self.wrong else b"right")
            for at, raw in enumerate(documents)
        ]


def test_every_place_of_a_batch_is_compared_in_its_turn() -> None:
    raws = [stored({"_id": number}) for number in range(200)]
    for wrong in (0, 1, 127, 128, 199):
        with pytest.raises(PermanentError, match=f"document n:{wrong}: .* set OFFRAMP_COMPILED=0") as raised:
            _project_often(wrong, raws)
        assert raised.value.code == "E-MAP-DIRECT"
    with pytest.raises(PermanentError, match="document n:1: "):
        _project_often(1, raws[:2])


def _project_often(wrong: int, raws: Sequence[bytes]) -> None:
    projection = Projection(Wrong(wrong), Losses(), (String,), guarded=False)
    for _ in range(128):
        projection.batch(Batch(raws, b""))


@pytest.mark.process
def test_a_projection_gives_the_same_with_the_module_and_without_it() -> None:
    raws = [stored({"_id": number, "v": float("nan") if number % 3 else 1}) for number in range(10)]
    made = _projected(raws)
    script = (
        "import sys; sys.path[:0] = eval(sys.argv[1]); from tests.mappers.native import test_direct as own;"
        "from mappers.native import extension as compiled; assert compiled.MODULE is None;"
        "print(own._projected(eval(sys.argv[2])))"
    )
    arguments = [str([path for path in sys.path if path]), str(raws)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {compiled.SWITCH: "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(made), done.stderr


def _projected(raws: Sequence[bytes]) -> list[tuple[Any, ...]]:
    losses = Losses()
    mapper = StringMapper(StringMapper.Options(), "things", losses)
    batch = Projection(mapper, losses, (String,), dates_in_ms=True, guarded=False).batch(Batch(raws, b""))
    return [(record.address, record.canonical()) for record in batch.records]


def test_what_the_module_is_given_is_checked() -> None:
    assert compiled.MODULE is not None
    texts_of: Any = direct.Direct(direct.REDIS_JSON, ["_id"])._texts
    for wrong in (None, [1], ["text"], 5):
        with pytest.raises(TypeError):
            texts_of(wrong)
    with pytest.raises(TypeError):
        compiled.MODULE.Direct()
    assert texts_of([]) == []


def test_a_mapping_error_of_key_or_expiry_is_left_to_the_long_way() -> None:
    mapper = StringMapper(StringMapper.Options(key="k:{a}"), "things", Losses())
    assert straight(mapper, stored({"_id": 1, "a": 1})) == String("k:1", b'{"_id":1,"a":1}')
    assert straight(mapper, stored({"_id": 1})) is None
    with pytest.raises(MappingError):
        long_way(mapper, stored({"_id": 1}))
