"""R18, R27, R67, R68: sets, lists, streams, places, counters, raw strings; what each rejects or counts as lost."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from typing import Any

import orjson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from mappers.contract import Losses, MappingError, option_declarations
from mappers.policies import JSON_POLICIES
from mappers.redis.collections import ListMapper, SetMapper
from mappers.redis.geo import GeoMapper, cell, place
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from mappers.redis.stream import StreamMapper
from mappers.redis.string import CounterMapper, StringMapper

AT = dt.datetime(2020, 1, 1, 0, 0, 0, 1000, tzinfo=dt.UTC)
ID = ObjectId("5f3b1c2d4e5f60718293a4b5")


def mapped(mapper: Any, document: dict[str, Any], **options: Any) -> tuple[list[Any], dict[str, int]]:
    losses = Losses()
    records = list(mapper(mapper.Options(**options), "route", losses)(document))
    return records, Counter(kind for _, kind in losses.take())


def refused(mapper: Any, document: dict[str, Any], **options: Any) -> tuple[str, str]:
    with pytest.raises(MappingError) as caught:
        mapped(mapper, document, **options)
    return caught.value.code, caught.value.field


# Arrays as sets and lists

ELEMENTS = ["a", "b", "a", 1, "1", None, {"x": [1]}, ID, b"\xff", ""]
TEXTS = (b"a", b"b", b"a", b"1", b"1", b"\x00null", b'{"x":[1]}', str(ID).encode(), b"\xff", b"")


def test_a_list_holds_every_element_in_its_order() -> None:
    assert mapped(ListMapper, {"_id": 1, "v": ELEMENTS}, values="v") == ([List("route:n:1", TEXTS)], {})


def test_a_set_holds_each_element_once_and_counts_what_that_loses() -> None:
    expected = Set("route:n:1", tuple(dict.fromkeys(TEXTS)))
    assert mapped(SetMapper, {"_id": 1, "v": ELEMENTS}, values="v") == ([expected], {"set_duplicate": 2})


@pytest.mark.parametrize("mapper", [SetMapper, ListMapper])
def test_an_empty_array_makes_no_record_and_its_absence_is_a_reject(mapper: Any) -> None:
    assert mapped(mapper, {"_id": 1, "a": {"v": []}}, values="a.v") == ([], {})
    for document in ({"_id": 1}, {"_id": 1, "a": {"v": None}}, {"_id": 1, "a": {"v": "x"}}):
        assert refused(mapper, document, values="a.v") == ("E-MAP-ARRAY", "a.v")
    assert refused(mapper, {"_id": 1, "a": {"v": [1, {"b": object()}]}}, values="a.v") == ("E-MAP-VALUE", "a.v.1.b")


@pytest.mark.parametrize("mapper", [SetMapper, ListMapper])
def test_a_key_of_its_own_follows_template_and_expiry(mapper: Any) -> None:
    ((one,), _) = mapped(mapper, {"_id": 1, "v": [1], "at": AT}, values="v", key="x:{{_id}}:v", expires="at")
    assert (one.key, one.address, one.expires_at_ms) == ("x:{n:1}:v", "x:{n:1}:v", 1577836800001)


# Sets that documents share


def test_a_document_joins_a_set_by_its_member() -> None:
    assert mapped(SetMapper, {"_id": 1}, member="_id") == ([SetMember("route", "n:1")], {})
    by_country, _ = mapped(SetMapper, {"_id": 1, "n": "x", "c": "{d}"}, member="n", key="by:{c}")
    assert by_country == [SetMember("by:%7Bd%7D", "x")]
    assert orjson.loads(by_country[0].address) == ["by:%7Bd%7D", "x"]


def test_each_element_of_an_array_puts_the_document_in_a_set() -> None:
    document = {"_id": 1, "a": {"tags": ["x", "y", "x"], "z": 1}}
    records, losses = mapped(SetMapper, document, member="_id", each="a.tags", key="tag:{a.tags}:{a.z}")
    assert records == [SetMember("tag:x:1", "n:1"), SetMember("tag:y:1", "n:1")]
    assert losses == {"set_duplicate": 1}
    assert document["a"] == {"tags": ["x", "y", "x"], "z": 1}
    assert mapped(SetMapper, {"_id": 1, "t": []}, member="_id", each="t", key="tag:{t}") == ([], {})
    assert refused(SetMapper, {"_id": 1}, member="_id", each="t", key="tag:{t}") == ("E-MAP-ARRAY", "t")
    assert refused(SetMapper, {"_id": 1, "t": [{}]}, member="_id", each="t", key="tag:{t}") == ("E-MAP-KEY", "t")


@pytest.mark.parametrize(
    ("mapper", "options"),
    [
        (SetMapper, {}),
        (SetMapper, {"values": "v", "member": "_id"}),
        (SetMapper, {"values": "v", "key": "all"}),
        (SetMapper, {"values": "v", "each": "v"}),
        (SetMapper, {"member": "_id", "each": "v"}),
        (SetMapper, {"member": "_id", "each": "v", "key": "by:{w}"}),
        (SetMapper, {"member": "_id", "expires": "at"}),
        (ListMapper, {"values": "v", "key": "all"}),
        (StreamMapper, {"entry": "_id", "key": "x{"}),
        (GeoMapper, {"location": "at", "key": "x}"}),
        (CounterMapper, {"value": "n", "key": "{}"}),
        (StringMapper, {"format": "raw"}),
        (StringMapper, {"value": "v"}),
        (StringMapper, {"format": "msgpack", "value": "v"}),
    ],
)
def test_options_that_do_not_fit_together_are_refused_with_the_plan(mapper: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        mapper(mapper.Options(**options), "route", Losses())


# Streams


def test_a_document_becomes_an_entry_with_a_field_for_each_of_its_own() -> None:
    records, _ = mapped(StreamMapper, {"_id": ID, "b": None, "a": "1"}, entry="_id", key="feed:{a}")
    back = int.from_bytes(ID.binary[4:], "big")
    fields = ((b"_id", str(ID).encode()), (b"b", b"\x00null"), (b"a", b"1"))
    assert records == [Entry("feed:1", f"{int(ID.generation_time.timestamp()) * 1000}-{back}", fields)]
    assert orjson.loads(records[0].address) == ["feed:1", records[0].id]


def entry_id(document: dict[str, Any], entry: str = "_id") -> tuple[int, int]:
    ((record,), _) = mapped(StreamMapper, document, entry=entry)
    front, back = record.id.split("-")
    return int(front), int(back)


@given(st.lists(st.binary(min_size=12, max_size=12).filter(any), min_size=2, unique=True))
def test_entries_are_in_the_order_of_their_object_ids(ids: list[bytes]) -> None:
    made = [entry_id({"_id": ObjectId(one)}) for one in sorted(ids)]
    assert made == sorted(set(made))


def test_a_field_orders_entries_and_the_id_tells_its_equals_apart() -> None:
    assert entry_id({"_id": AT}) == (1577836800001, 0)
    assert entry_id({"_id": Int64(2**63 - 1)}) == (2**63 - 1, 0)
    one, other = (entry_id({"_id": number, "at": AT}, "at") for number in (1, 2))
    assert one[0] == other[0] == 1577836800001
    assert one != other
    assert one == entry_id({"_id": 1.0, "at": DatetimeMS(1577836800001)}, "at")
    assert entry_id({"_id": 1, "at": 7}, "at")[0] == 7
    assert entry_id({"_id": 1, "at": ID}, "at")[0] == int(ID.generation_time.timestamp()) * 1000


@pytest.mark.parametrize("value", [DatetimeMS(-1), -1, 0, True, 1.0, "1", None, Decimal128("1")])
def test_what_no_id_of_a_stream_can_say_is_refused(value: Any) -> None:
    assert refused(StreamMapper, {"_id": value}, entry="_id") == ("E-MAP-ENTRY", "_id")
    if value != 0:
        assert refused(StreamMapper, {"_id": 1, "at": value}, entry="at") == ("E-MAP-ENTRY", "at")
    assert refused(StreamMapper, {"_id": 1}, entry="at") == ("E-MAP-ENTRY", "at")


# Places (R27)

PALERMO = (13.361389, 38.115556)
CELL = 3479099956230698.0
"""What the documentation of GEOADD and a real server give for it."""


@pytest.mark.parametrize(
    "value",
    [
        {"type": "Point", "coordinates": list(PALERMO)},
        list(PALERMO),
        {"lon": PALERMO[0], "lat": PALERMO[1]},
        {"lat": PALERMO[1], "lng": PALERMO[0], "name": "Palermo"},
        {"longitude": Decimal128("13.361389"), "latitude": PALERMO[1]},
    ],
)
def test_a_place_is_the_cell_the_server_would_give(value: Any) -> None:
    records, losses = mapped(GeoMapper, {"_id": 1, "at": value}, location="at")
    assert records == [Member("route", "n:1", CELL)]
    assert losses == {"geo_rounded": 1}


@pytest.mark.parametrize("altitude", [0, 12.5, Decimal128("-3")])
def test_an_altitude_is_left_out_and_counted(altitude: Any) -> None:
    position = [*PALERMO, altitude]
    for value in (position, {"type": "Point", "coordinates": position}):
        records, losses = mapped(GeoMapper, {"_id": 1, "at": value}, location="at")
        assert records == [Member("route", "n:1", CELL)]
        assert losses == {"geo_rounded": 1, "geo_altitude": 1}


def test_a_place_that_is_the_middle_of_its_cell_loses_nothing() -> None:
    assert mapped(GeoMapper, {"_id": 1, "at": list(place(int(CELL)))}, location="at")[1] == {}


@given(st.floats(-180, 180), st.floats(-85.05112878, 85.05112878))
def test_a_cell_is_within_the_tolerance_of_its_place(longitude: float, latitude: float) -> None:
    east, north = place(cell(longitude, latitude))
    assert abs(east - longitude) <= 1e-5
    assert abs(north - latitude) <= 1e-5


@pytest.mark.parametrize(
    "value",
    [
        *([0, 85.06], [0, -85.06], [180.1, 0], [-181, 0], [0, 90], [40.0, 100.0], [math.nan, 0], [0, math.inf]),
        *(
            [1],
            [1, 2, 3, 4],
            [1, 2, "3"],
            ["1", 2],
            [True, 0],
            [None, 0],
            "1,2",
            None,
            {},
            {"lat": 1},
            {"type": "Point"},
        ),
        *({"lon": 1, "lng": 1, "lat": 2}, {"type": "Polygon", "coordinates": [[0, 0]]}, [Decimal128("NaN"), 0]),
    ],
)
def test_what_is_no_place_or_beyond_the_projection_is_refused(value: Any) -> None:
    assert refused(GeoMapper, {"_id": 1, "at": value}, location="at") == ("E-MAP-GEO", "at")
    assert refused(GeoMapper, {"_id": 1}, location="at") == ("E-MAP-GEO", "at")


def test_a_swapped_pair_is_suspected_by_name() -> None:
    with pytest.raises(MappingError, match="swapped"):
        mapped(GeoMapper, {"_id": 1, "at": [38.1, 113.3]}, location="at")
    with pytest.raises(MappingError, match=r"that Redis takes$"):
        mapped(GeoMapper, {"_id": 1, "at": [0, 89]}, location="at")


# Counters


@pytest.mark.parametrize(
    ("value", "text", "lost"),
    [
        *((0, b"0", {}), (-5, b"-5", {}), (Int64(2**53 + 1), b"9007199254740993", {}), (5.0, b"5", {})),
        *((Int64(2**63 - 1), b"9223372036854775807", {}), (Int64(-(2**63)), b"-9223372036854775808", {})),
        *((Decimal128("5.00"), b"5", {}), (Decimal128("1E+3"), b"1000", {}), (1e15, b"1000000000000000", {})),
        *((-0.0, b"0", {"neg_zero": 1}), (Decimal128("-0.0"), b"0", {"neg_zero": 1})),
    ],
)
def test_a_counter_is_a_whole_number_as_text(value: Any, text: bytes, lost: dict[str, int]) -> None:
    expected = String("route:n:1", text, 1577836800001)
    assert mapped(CounterMapper, {"_id": 1, "n": value, "at": AT}, value="n", expires="at") == ([expected], lost)


@pytest.mark.parametrize(
    "value",
    [
        *(0.5, math.nan, math.inf, 2.0**63, -(2.0**64), 1e300, Decimal128("0.1"), Decimal128("NaN")),
        *(Decimal128("sNaN"), Decimal128("-Infinity"), Decimal128("1E+6000"), Decimal128("9223372036854775808")),
        *(True, None, "1", [1]),
    ],
)
def test_what_no_counter_can_hold_is_refused(value: Any) -> None:
    assert refused(CounterMapper, {"_id": 1, "n": value}, value="n") == ("E-MAP-COUNTER", "n")
    assert refused(CounterMapper, {"_id": 1}, value="n") == ("E-MAP-COUNTER", "n")


# Formats of a string


def test_a_document_as_messagepack_has_the_values_it_has_as_json() -> None:
    records, _ = mapped(StringMapper, {"_id": ID, "n": Int64(2**53 + 1), "d": 1.0, "x": math.nan}, format="msgpack")
    text = b"\x84\xa3_id\xb8" + str(ID).encode() + b"\xa1n\xcf\x00\x20\0\0\0\0\0\x01\xa1d\xcb\x3f\xf0\0\0\0\0\0\0"
    assert records == [String(f"route:o:{ID}", text + b"\xa1x\x81\xad$numberDouble\xa3NaN")]


@pytest.mark.parametrize(
    ("value", "text", "lost"),
    [
        *(("é\0", b"\xc3\xa9\0", {}), ("", b"", {}), (b"\xff", b"\xff", {}), (Binary(b"x", 0), b"x", {})),
        (Binary(b"\x01", 128), b"\x01", {"binary_subtype": 1}),
    ],
)
def test_a_raw_string_is_the_field_as_it_is(value: Any, text: bytes, lost: dict[str, int]) -> None:
    expected = String("route:n:1", text)
    assert mapped(StringMapper, {"_id": 1, "page": {"html": value}}, format="raw", value="page.html") == (
        [expected],
        lost,
    )


@pytest.mark.parametrize("value", [1, None, ["x"], {}, Code("x"), ID])
def test_what_is_neither_text_nor_binary_is_no_raw_string(value: Any) -> None:
    assert refused(StringMapper, {"_id": 1, "v": value}, format="raw", value="v") == ("E-MAP-RAW", "v")
    assert refused(StringMapper, {"_id": 1}, format="raw", value="v") == ("E-MAP-RAW", "v")


# Canonical forms (R10)

BYTES = st.binary(max_size=3) | st.sampled_from((b"1 a 1 b", b"a", b"1", b" ", b"0", b"never ", b"1 "))
EXPIRY = st.sampled_from((None, 0, 1, -1, 10, 1577836800001))


@given(st.sets(BYTES, max_size=3), st.sets(BYTES, max_size=3), EXPIRY, EXPIRY)
def test_sets_are_the_same_exactly_if_members_and_expiry_are(one: Any, other: Any, first: Any, second: Any) -> None:
    same = (one, first) == (other, second)
    assert (Set("k", tuple(one), first).canonical() == Set("k", tuple(other), second).canonical()) is same
    assert Set("k", tuple(sorted(one)), first).canonical() == Set("k", tuple(one), first).canonical()


@given(st.lists(BYTES, max_size=3), st.lists(BYTES, max_size=3), EXPIRY, EXPIRY)
def test_lists_are_the_same_exactly_if_elements_and_expiry_are(one: Any, other: Any, first: Any, second: Any) -> None:
    same = (one, first) == (other, second)
    assert (List("k", tuple(one), first).canonical() == List("k", tuple(other), second).canonical()) is same


@given(st.lists(st.tuples(BYTES, BYTES), max_size=3), st.lists(st.tuples(BYTES, BYTES), max_size=3))
def test_entries_are_the_same_exactly_if_their_fields_are(one: Any, other: Any) -> None:
    assert (Entry("k", "1-0", tuple(one)).canonical() == Entry("k", "1-0", tuple(other)).canonical()) is (one == other)


def test_no_two_shapes_look_alike() -> None:
    shapes: list[Any] = [
        *(String("k", b""), Hash("k", ()), Set("k", ()), List("k", ()), Entry("k", "1-0", ())),
        *(Member("k", "m", 0.0), SetMember("k", "m")),
    ]
    assert len({shape.canonical() for shape in shapes}) == len(shapes)


@pytest.mark.parametrize("mapper", [SetMapper, ListMapper])
def test_a_document_that_a_decoder_would_change_is_judged_by_policies_and_not_by_the_arrays_name(mapper: Any) -> None:
    options = mapper.Options(values="tags")
    assert option_declarations(options).anomalies == JSON_POLICIES
    assert option_declarations(SetMapper.Options(member="_id")).anomalies is None
