"""R28, R31-R33, R42, R43: keys from fields and templates, index keys, and sets."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.contract import Losses, MappingError
from mappers.dynamodb.keys import attribute
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Index, Item, Key, KeyAttribute, item, item_size
from mappers.identity import encode, shortened

OID = ObjectId("5f3b1c2d4e5f60718293a4b5")
AT = dt.datetime(2020, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
ORDERS = Key("customer_id", "{created_at}#{_id}")


def mapped(document: dict[str, Any], losses: Losses | None = None, **options: Any) -> Item:
    (one,) = ItemMapper(ItemMapper.Options(**options), "orders", losses or Losses())(document)
    return one


def body(document: dict[str, Any], **options: Any) -> dict[str, Any]:
    return dict(orjson.loads(mapped(document, **options).body))


def refused(document: dict[str, Any], **options: Any) -> tuple[str, str]:
    with pytest.raises(MappingError) as caught:
        mapped(document, **options)
    return caught.value.code, caught.value.field


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_of_a_field_and_a_template() -> None:
    one = mapped({"_id": OID, "customer_id": "c#1", "created_at": AT, "n": 1}, key=ORDERS)
    sort = f"2020-01-02T03:04:05.678Z#o:{OID}"
    assert one.address == f'{{"customer_id":{{"S":"c#1"}},"sk":{{"S":"{sort}"}}}}'
    assert orjson.loads(one.body) == {
        "_id": {"S": f"o:{OID}"},
        "customer_id": {"S": "c#1"},
        "created_at": {"N": "1577934245678"},
        "n": {"N": "1"},
        "sk": {"S": sort},
    }


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        ("S", "text", {"S": "text"}),
        ("S", OID, {"S": str(OID)}),
        ("N", 7, {"N": "7"}),
        ("N", Decimal128("1.50"), {"N": "1.5"}),
        ("N", AT, {"N": "1577934245678"}),
        ("B", b"\x00", {"B": "AA=="}),
    ],
)
def test_a_fields_value_is_the_key_as_it_is(kind: Any, value: Any, held: dict[str, Any]) -> None:
    for one in (KeyAttribute("f", type=kind), KeyAttribute(field="f", type=kind)):
        made = mapped({"_id": 1, "f": value}, key=Key(one))
        assert orjson.loads(made.address) == {"f": held}
        assert orjson.loads(made.body) == {"_id": {"S": "n:1"}, "f": held}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("S", 1), ("S", None), ("S", ""), ("S", "é" * 1025), ("S", ["a"]), ("S", b"a")),
        *(("N", "1"), ("N", math.nan), ("N", -0.0), ("N", None), ("B", "a"), ("B", b""), ("B", b"a" * 2049)),
    ],
)
def test_a_field_of_another_type_empty_or_too_long_is_rejected_by_its_name(kind: Any, value: Any) -> None:
    assert refused({"_id": 1, "f": value}, key=Key(KeyAttribute("f", type=kind))) == ("E-DDB-KEY", "f")


def test_a_field_that_is_missing_is_rejected_by_its_name() -> None:
    assert refused({"_id": 1}, key=Key("f")) == ("E-DDB-KEY", "f")
    assert refused({"_id": 1, "customer_id": "c"}, key=ORDERS) == ("E-DDB-KEY", "sk")


def test_a_nested_field_or_another_name_is_a_copy_and_the_field_stays() -> None:
    document = {"_id": 1, "customer": {"id": "c"}}
    whole = {"_id": {"S": "n:1"}, "customer": {"M": {"id": {"S": "c"}}}}
    assert body(document, key=Key("customer.id")) == {**whole, "customer.id": {"S": "c"}}
    assert body(document, key=Key(KeyAttribute("pk", field="customer.id"))) == {**whole, "pk": {"S": "c"}}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ORDERS, "sk"),
        (Key("{customer_id}"), "pk"),
        (Key(KeyAttribute("other", field="customer_id")), "other"),
        (Key("address.city"), "address.city"),
    ],
)
def test_a_field_that_stands_where_the_key_goes_is_never_replaced(key: Key, name: str) -> None:
    document = {"_id": 1, "customer_id": "c", "created_at": AT, "address": {"city": "x"}}
    assert mapped(document, key=key)
    assert refused({**document, name: "mine"}, key=key) == ("E-NAME-COLLISION", name)


def test_the_whole_id_is_an_attribute_wherever_the_key_is() -> None:
    long = "x" * 5000
    assert body({"_id": long, "f": "a"}, key=Key("f"))["_id"] == {"S": f"s:{long}"}
    one = body({"_id": long, "f": "a"}, key=Key("f", "_id"))
    assert one["_id"]["S"].startswith("h:")
    assert one["_id_full"] == {"S": f"s:{long}"}
    assert body({"_id": "a"}, key=Key(KeyAttribute("_id", value="A#{_id}"))) == {
        "_id": {"S": "A#s:a"},
        "_id_full": {"S": "s:a"},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (Int64(2**63 - 1), str(2**63 - 1)), (1.0, "1"), (1e15, "1" + "0" * 15), (Decimal128("1E+2"), "100")],
)
def test_a_whole_number_may_be_the_key_as_a_number(value: Any, text: str) -> None:
    assert body({"_id": value}, key=Key(KeyAttribute("_id", type="N"))) == {"_id": {"N": text}}


@pytest.mark.parametrize(
    "value", [0.1, Decimal128("0.1"), 2.0**70, AT, DatetimeMS(1), True, "1", math.nan, Decimal128("NaN"), -0.0, OID]
)
def test_an_id_that_another_could_equal_as_a_number_is_rejected(value: Any) -> None:
    assert refused({"_id": value}, key=Key(KeyAttribute("_id", type="N"))) == ("E-DDB-KEY", "_id")


def test_bytes_may_be_the_key_as_bytes() -> None:
    key = Key(KeyAttribute("_id", type="B"))
    assert body({"_id": b"ab"}, key=key) == {"_id": {"B": "YWI="}}
    for other in (Binary(b"ab", 5), "ab"):
        assert refused({"_id": other}, key=key) == ("E-DDB-KEY", "_id")


TEXTS = st.text(st.sampled_from("#%:2as35é"), max_size=5)
SCALARS = TEXTS | st.integers(-3, 3) | st.booleans()


@settings(deadline=None, max_examples=examples(300))
@given(SCALARS, SCALARS, TEXTS, SCALARS, SCALARS, TEXTS)
def test_a_template_with_the_id_never_gives_two_documents_one_key(
    a: Any, b: Any, one: Any, c: Any, d: Any, other: Any
) -> None:
    for template in ("{a}#{_id}#{b}", "x#{_id}:#{a}é{b}", "{a}#{b}#{_id}"):
        keys = [
            mapped({"_id": name, "a": first, "b": second}, key=Key(template)).address
            for name, first, second in ((one, a, b), (other, c, d))
        ]
        assert (keys[0] == keys[1]) is (one == other and str(a).lower() == str(c).lower() and text(b) == text(d))


@pytest.mark.parametrize(
    ("template", "one", "other"),
    [
        ("{a}#{_id}", {"_id": "b", "a": "1#s:a"}, {"_id": "a#s:b", "a": "1"}),
        ("{_id}#{a}", {"_id": "a#", "a": "1"}, {"_id": "a%23", "a": "1"}),
        ("{_id}é{a}", {"_id": "aé", "a": "1"}, {"_id": "a%C3%A9", "a": "1"}),
        ("{_id}#{a}", {"_id": "a", "a": "b#c"}, {"_id": "a#b", "a": "c"}),
    ],
)
def test_signs_that_part_fields_are_escaped_within_them(template: str, one: Any, other: Any) -> None:
    assert mapped(one, key=Key(template)).address != mapped(other, key=Key(template)).address


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_a_template_too_long_keeps_the_digest_of_the_id() -> None:
    long = "é" * 600
    one = body({"_id": long, "f": "a"}, key=Key("f", "ORDER#{_id}"))
    assert one["sk"]["S"].startswith("ORDER#h:")
    assert one["_id"] == {"S": f"s:{long}"}
    assert refused({"_id": long, "f": "a" * 1000}, key=Key("{_id}", "{f}#{_id}")) == ("E-DDB-KEY", "sk")


@pytest.mark.parametrize("template", ["{_id}", "ORDER#{_id}", "{_id}:{f}", "{f}#{_id}"])
@pytest.mark.parametrize("part", ["partition", "sort"])
def test_a_plain_id_that_reads_as_a_digest_has_a_key_of_its_own(template: str, part: str) -> None:
    key = Key(template) if part == "partition" else Key("f", template)
    long = "x" * 3000
    imitation = shortened(long, 0)
    addresses = [
        mapped({"_id": at, "f": "a"}, key=key, id_encoding="plain").address
        for at in (long, imitation, shortened(imitation, 0))
    ]
    assert len(set(addresses)) == 3
    assert body({"_id": imitation, "f": "a"}, key=key, id_encoding="plain")["_id"] == {"S": imitation}


@pytest.mark.parametrize("at", ["h:", "h:x", "h:" + "0" * 63, "h:" + "0" * 65, "h:" + "A" * 64, "h:" + "a" * 64 + "\n"])
def test_a_plain_id_that_no_digest_can_be_keeps_its_text_in_a_template(at: str) -> None:
    assert body({"_id": at}, key=Key("ORDER#{_id}"), id_encoding="plain")["pk"] == {"S": f"ORDER#{at}"}


@pytest.mark.parametrize("value", [None, 1.5, ["a"], {"a": 1}, DatetimeMS(2**62), b"a"])
def test_a_value_that_is_no_text_in_a_key_is_rejected(value: Any) -> None:
    assert refused({"_id": 1, "f": value}, key=Key("{f}")) == ("E-MAP-KEY", "f")


@pytest.mark.parametrize(
    "key",
    [
        Key("{a}{b}"),
        Key("{a}2{b}"),
        Key("{a}%{b}"),
        Key("{a"),
        Key("a..b"),
        Key("a", "a"),
        Key(KeyAttribute()),
        Key(KeyAttribute("a", field="b", value="c")),
        Key(KeyAttribute("a", value="{b}", type="N")),
        Key(KeyAttribute(value="{b}")),
        Key(KeyAttribute("é" * 128, field="a")),
        Key(KeyAttribute("", field="a")),
    ],
)
def test_a_key_that_cannot_be_served_is_refused_with_the_plan(key: Key) -> None:
    with pytest.raises(ValueError, match=r"^key: "):
        ItemMapper(ItemMapper.Options(key=key), "orders", Losses())


def test_names_in_short_are_fields_and_templates_have_names_of_their_own() -> None:
    assert Key("a", "b").names == ("a", "b")
    assert Key("{a}", "{b}").names == ("pk", "sk")
    assert Key("$a").names == ("$$a",)
    assert body({"_id": 1, "$a": "x"}, key=Key("$a")) == {"_id": {"S": "n:1"}, "$$a": {"S": "x"}}


def test_an_item_of_ones_own_may_have_typed_keys() -> None:
    key = Key(KeyAttribute("n", type="N"), KeyAttribute("b", type="B"))
    assert item({"n": 1, "b": b"a"}, key).address == '{"n":{"N":"1"},"b":{"B":"YQ=="}}'
    with pytest.raises(MappingError):
        item({"n": "1", "b": b"a"}, key)


def test_an_item_of_ones_own_may_be_over_the_limit_where_the_route_says_what_becomes_of_it() -> None:
    with pytest.raises(MappingError):
        item({"_id": "a", "text": "x" * 500_000})
    assert item({"_id": "a", "text": "x" * 500_000}, oversize=True)
    assert mapped({"_id": "a", "text": "x" * 500_000}, oversize="compress")


# --- indexes (R43) ----------------------------------------------------------------------------------------------------

BY_STATUS = {"by_status": Index("status", KeyAttribute("at", type="N"))}


def test_an_item_whose_fields_fit_or_are_missing_is_left_as_it_is() -> None:
    for document in ({"_id": 1, "status": "open", "at": AT}, {"_id": 1, "status": "open"}, {"_id": 1, "at": 5}):
        assert body(document, indexes=BY_STATUS) == body(document)


# Value of the field, what the index gets when it is coerced.
MISFITS: Sequence[tuple[Any, Any]] = [
    (None, None),
    ("", None),
    (7, "7"),
    (1.5, "1.5"),
    (True, "true"),
    (["a"], None),
    ({"a": 1}, None),
    (math.nan, None),
    (b"a", None),
    ("é" * 1025, None),
]


@pytest.mark.parametrize(("value", "coerced"), MISFITS, ids=lambda value: repr(value)[:20])
def test_a_field_that_cannot_key_an_index_is_never_lost(value: Any, coerced: Any) -> None:
    document = {"_id": 1, "status": value, "at": 5}
    as_it_is = body(document)["status"]
    assert refused(document, indexes=BY_STATUS) == ("E-DDB-INDEX", "status")
    for policy, held in (("omit", None), ("coerce", coerced)):
        losses = Losses()
        one = dict(orjson.loads(mapped(document, losses, indexes=BY_STATUS, index_mismatch=policy).body))
        assert one["_unindexed"] == {"M": {"status": as_it_is}}
        assert one.get("status") == (None if held is None else {"S": held})
        assert one["at"] == {"N": "5"}
        assert losses.take() == [("status", "index_omitted" if held is None else "index_coerced")]


@pytest.mark.parametrize(
    ("value", "number"), [("12", "12"), ("-1.50", "-1.5"), ("1e3", None), ("x", None), ("9" * 39, None), (" 1", None)]
)
def test_text_becomes_a_number_only_where_it_is_one(value: str, number: str | None) -> None:
    one = body({"_id": 1, "at": value}, indexes=BY_STATUS, index_mismatch="coerce")
    assert one.get("at") == (None if number is None else {"N": number})
    assert one["_unindexed"] == {"M": {"at": {"S": value}}}


def test_an_index_may_have_keys_of_its_own() -> None:
    indexes = {"by_day": Index(KeyAttribute("gsi", value="DAY#{day}"), KeyAttribute("who", field="user.name"))}
    document = {"_id": 1, "day": "mon", "user": {"name": "x"}}
    assert body(document, indexes=indexes) == {**body(document), "gsi": {"S": "DAY#mon"}, "who": {"S": "x"}}
    assert body({"_id": 1}, indexes=indexes) == {"_id": {"S": "n:1"}}
    assert refused({**document, "gsi": 1}, indexes=indexes) == ("E-NAME-COLLISION", "gsi")


def test_a_whole_id_stays_whole_where_an_index_has_it_for_a_key() -> None:
    indexes = {"by_id": Index("_id")}
    assert body({"_id": "a", "f": "x"}, key=Key("f"), indexes=indexes)["_id"] == {"S": "s:a"}
    long = {"_id": "a" * 3000, "f": "x"}
    assert refused(long, key=Key("f"), indexes=indexes) == ("E-DDB-INDEX", "_id")


def test_a_field_in_the_place_of_what_is_put_aside_is_never_replaced() -> None:
    document = {"_id": 1, "status": 1, "_unindexed": "mine"}
    assert refused(document, indexes=BY_STATUS, index_mismatch="omit") == ("E-NAME-COLLISION", "_unindexed")
    assert body({**document, "status": "open"}, indexes=BY_STATUS)["_unindexed"] == {"S": "mine"}


def test_local_indexes_count_to_the_limit_of_the_item() -> None:
    key = Key("c", "{_id}")
    fixed = {"_id": 1, "c": "c", "s": "s"}
    for projection, entry in (("all", None), ("keys", ("c", "sk", "s")), (["n"], ("c", "sk", "s", "n"))):
        indexes = {"by_s": Index(sort="s", local=True, projection=projection)}
        small = body({**fixed, "n": 1, "t": ""}, key=key)
        own = item_size(small)
        if entry is None:
            room = (409_600 - 2 * own) // 2
        else:
            room = 409_600 - own - item_size({name: small[name] for name in entry})
        assert mapped({**fixed, "n": 1, "t": "x" * room}, key=key, indexes=indexes)
        assert refused({**fixed, "n": 1, "t": "x" * (room + 1)}, key=key, indexes=indexes) == ("E-DDB-SIZE", "t")
    without = {name: value for name, value in fixed.items() if name != "s"}
    assert mapped({**without, "t": "x" * 400_000}, key=key, indexes={"by_s": Index(sort="s", local=True)})


@pytest.mark.parametrize(
    "indexes",
    [
        {"x": Index("a")},
        {"by a": Index("a")},
        {"by_a": Index()},
        {"by_a": Index("a", "a")},
        {"by_a": Index("a", local=True)},
        {"by_a": Index("a", projection=[])},
        {"by_a": Index("{a}")},
        {"by_a": Index(KeyAttribute("_id", type="N"))},
        {"by_a": Index("a"), "by_b": Index("b", KeyAttribute("a", type="N"))},
        {"by_a": Index("a"), "by_b": Index(KeyAttribute("a", field="b"))},
        {f"by_{n}": Index("a") for n in range(21)},
    ],
)
def test_indexes_that_cannot_be_served_are_refused_with_the_plan(indexes: dict[str, Index]) -> None:
    with pytest.raises(ValueError, match=r"^indexes: "):
        ItemMapper(ItemMapper.Options(indexes=indexes), "orders", Losses())


# --- sets (R28) -------------------------------------------------------------------------------------------------------


def test_arrays_are_sets_where_that_is_asked() -> None:
    document = {"_id": 1, "tags": ["b", "a"], "m": {"n": [2, 1.5, Decimal128("1E+1")]}, "b": [b"b", b"a"], "l": ["a"]}
    one = body(document, sets=["tags", "m.n", "b", "missing", "m.missing.deep", "l.deep"])
    assert one["tags"] == {"SS": ["a", "b"]}
    assert one["m"] == {"M": {"n": {"NS": ["1.5", "10", "2"]}}}
    assert one["b"] == {"BS": ["YQ==", "Yg=="]}
    assert one["l"] == {"L": [{"S": "a"}]}


@pytest.mark.parametrize(
    "value", [[], ["a", "a"], [1, 1.0], ["a", 1], [None], [True], [["a"]], [str(OID), OID], [math.nan]], ids=repr
)
def test_an_array_that_is_no_set_is_rejected(value: Any) -> None:
    assert refused({"_id": 1, "tags": value}, sets=["tags"]) == ("E-DDB-SET", "tags")
    assert refused({"_id": 1, "m": {"tags": value}}, sets=["m.tags"]) == ("E-DDB-SET", "m.tags")


def test_empty_arrays_are_left_out_of_the_item_where_the_plan_says_so_and_counted() -> None:
    losses, document = Losses(), {"_id": 1, "tags": [], "m": {"tags": [], "n": 1}, "kept": ["a"], "list": []}
    one = mapped(document, losses, sets=["tags", "m.tags", "kept", "missing"], empty_sets="omit")
    assert orjson.loads(one.body) == {
        "_id": {"S": "n:1"},
        "m": {"M": {"n": {"N": "1"}}},
        "kept": {"SS": ["a"]},
        "list": {"L": []},
    }
    assert [*losses.take()] == [("tags", "set_empty"), ("m.tags", "set_empty")]
    assert refused({"_id": 1, "tags": ["a", "a"]}, sets=["tags"], empty_sets="omit") == ("E-DDB-SET", "tags")
    with pytest.raises(ValueError, match=r"^empty_sets: "):
        ItemMapper(ItemMapper.Options(empty_sets="omit"), "orders", Losses())


@pytest.mark.parametrize("value", [None, "a", {"a": 1}])
def test_what_is_no_array_stays_as_it_is(value: Any) -> None:
    assert body({"_id": 1, "tags": value}, sets=["tags"]) == body({"_id": 1, "tags": value})


@pytest.mark.parametrize("path", ["", "a..b", "_id", "_id.a"])
def test_a_path_that_is_no_array_of_a_document_is_refused_with_the_plan(path: str) -> None:
    with pytest.raises(ValueError, match=r"^sets: "):
        ItemMapper(ItemMapper.Options(sets=[path]), "orders", Losses())


def test_an_attribute_says_what_its_values_begin_with() -> None:
    assert attribute("ORDER#{_id}", "sk").prefix == "ORDER#"
    assert KeyAttribute("sk", value="PROFILE").prefix == "PROFILE\0"
    assert attribute("f", "sk").prefix == ""
    assert encode("x") == "s:x"
