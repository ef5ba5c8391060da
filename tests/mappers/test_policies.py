"""R4, R5, R9, R13, R14, R16, R18, R19, R29: what each policy makes of a value, and that what it loses is counted."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import bson
import orjson
import pytest
from bson import Binary, Decimal128, Int64
from hypothesis import given
from strategies import ODD_ELEMENTS, raw_documents

from flows.copying.projection import Projection
from mappers.contract import Losses, MappingError, Record
from mappers.documents.decoding import CODEC, decode
from mappers.documents.irregular import decode_all, stored_bytes
from mappers.dynamodb.mapper import ItemMapper
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.losses import LOSS_EXAMPLES, MOST_LOSS_FIELDS, OTHER_FIELDS, LossFields, count_lost
from mappers.lossless import restore
from mappers.policies import LOSSES, HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.redis.hash import HashMapper
from mappers.redis.records import Hash
from mappers.redis.string import StringMapper
from stores.contract.journal import Reject

UUID_BYTES = bytes(range(16))
ID = b"\x10_id\x00\x01\x00\x00\x00"
LEGACY = Binary(UUID_BYTES, 3)
TAGGED_LEGACY = {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "03"}}
TAGGED_SHORT = {"$binary": {"base64": "c2hvcnQ=", "subType": "03"}}
TAGGED_ZERO = {"M": {"$numberDecimal": {"S": "-0"}}}
NAN = {"$numberDouble": "NaN"}
ANY_RECORD: Any = (object,)


def raw(*elements: bytes) -> bytes:
    body = ID + b"".join(elements) + b"\x00"
    return (len(body) + 4).to_bytes(4, "little") + body


def projected(
    mapper: Any, document: bytes, fidelity: str = "native", **values: str
) -> tuple[Sequence[Record] | Reject, dict[Any, Any]]:
    """Return what a route with these policies makes of a document, and what it lost by field."""
    losses = Losses()
    policies = {ItemMapper: ItemPolicies, HashMapper: HashPolicies, DocumentMapper: IndexPolicies}.get(
        mapper, JsonPolicies
    )(**values)
    options = mapper.Options(values=policies, fidelity=fidelity)
    projection = Projection(
        mapper(options, "r", losses), losses, ANY_RECORD, anomalies=policies, lossless=fidelity == "lossless"
    )
    made = projection.map(document)
    return (made, {}) if isinstance(made, Reject) else (made.records, Counter(made.losses))


def field(mapper: Any, document: bytes, name: str = "f", **values: str) -> tuple[Any, dict[Any, Any]]:
    """Return one field as the form holds it, and what was lost."""
    made, lost = projected(mapper, document, **values)
    if isinstance(made, Reject):
        return made.code, lost
    (record,) = made
    if mapper is HashMapper:
        return dict(record.fields).get(name.encode()), lost  # type: ignore[attr-defined]
    content = orjson.loads(getattr(record, {ItemMapper: "body", StringMapper: "value"}.get(mapper, "source")))
    return content.get(name), lost


def stored(value: Any) -> bytes:
    return bson.encode({"_id": 1, "f": value}, codec_options=CODEC)


JSON_FORMS = (StringMapper, DocumentMapper)
ROWS = [
    # form, value, policies, what the field holds, kind of loss
    *((form, math.nan, {}, NAN, None) for form in JSON_FORMS),
    *((form, math.nan, {"nonfinite": "as_null"}, None, "nonfinite_null") for form in JSON_FORMS),
    *((form, Decimal128("NaN"), {"nonfinite": "as_null"}, None, "nonfinite_null") for form in JSON_FORMS),
    *((form, -math.inf, {"nonfinite": "reject"}, "E-MAP-VALUE", None) for form in JSON_FORMS),
    (ItemMapper, math.nan, {"nonfinite": "as_null"}, {"NULL": True}, "nonfinite_null"),
    (ItemMapper, Decimal128("-Infinity"), {"nonfinite": "as_null"}, {"NULL": True}, "nonfinite_null"),
    (ItemMapper, Decimal128("NaN"), {"nonfinite": "reject"}, "E-MAP-VALUE", None),
    (ItemMapper, 1e300, {"nonfinite": "reject"}, {"M": {"$numberDouble": {"S": "1e+300"}}}, None),
    (HashMapper, math.inf, {"nonfinite": "as_null"}, b"\x00null", "nonfinite_null"),
    (ItemMapper, -0.0, {}, {"M": {"$numberDouble": {"S": "-0.0"}}}, None),
    (ItemMapper, -0.0, {"neg_zero": "zero"}, {"N": "0"}, "neg_zero"),
    (ItemMapper, 0.0, {"neg_zero": "zero"}, {"N": "0"}, None),
    (ItemMapper, Decimal128("-0"), {"neg_zero": "zero"}, {"N": "0"}, "neg_zero"),
    (ItemMapper, Decimal128("-0"), {"neg_zero": "zero", "decimal_scale": "tag"}, TAGGED_ZERO, None),
    (ItemMapper, Decimal128("1.10"), {}, {"N": "1.1"}, None),
    (ItemMapper, Decimal128("1.10"), {"decimal_scale": "tag"}, {"M": {"$numberDecimal": {"S": "1.10"}}}, None),
    (ItemMapper, Decimal128("1E+2"), {"decimal_scale": "tag"}, {"M": {"$numberDecimal": {"S": "1E+2"}}}, None),
    (ItemMapper, Decimal128("-1.1"), {"decimal_scale": "tag"}, {"N": "-1.1"}, None),
    (ItemMapper, Decimal128("100"), {"decimal_scale": "tag"}, {"N": "100"}, None),
    *((form, LEGACY, {}, TAGGED_LEGACY, None) for form in JSON_FORMS),
    # R9: the same sixteen bytes in each driver's order.
    *((form, LEGACY, {"uuid_legacy": "python"}, "00010203-0405-0607-0809-0a0b0c0d0e0f", None) for form in JSON_FORMS),
    (StringMapper, LEGACY, {"uuid_legacy": "java"}, "07060504-0302-0100-0f0e-0d0c0b0a0908", None),
    (StringMapper, LEGACY, {"uuid_legacy": "csharp"}, "03020100-0504-0706-0809-0a0b0c0d0e0f", None),
    (ItemMapper, LEGACY, {"uuid_legacy": "java"}, {"S": "07060504-0302-0100-0f0e-0d0c0b0a0908"}, None),
    (HashMapper, LEGACY, {"uuid_legacy": "csharp"}, b"03020100-0504-0706-0809-0a0b0c0d0e0f", None),
    (StringMapper, Binary(b"short", 3), {"uuid_legacy": "java"}, TAGGED_SHORT, None),
    *((form, Int64(2**53), {"int53": "string"}, 2**53, None) for form in JSON_FORMS),
    *((form, Int64(2**53 + 1), {"int53": "string"}, "9007199254740993", None) for form in JSON_FORMS),
    *((form, Int64(-(2**53) - 1), {"int53": "string"}, "-9007199254740993", None) for form in JSON_FORMS),
    *((form, Int64(2**53 + 1), {}, 2**53 + 1, None) for form in JSON_FORMS),
    (HashMapper, [Int64(2**53 + 1)], {"int53": "string"}, b'["9007199254740993"]', None),
    (HashMapper, None, {}, b"\x00null", None),
    (HashMapper, None, {"nulls": "empty"}, b"", "null_empty"),
    (HashMapper, None, {"nulls": "omit"}, None, "null_omitted"),
    (HashMapper, "\x00null", {"nulls": "omit"}, b"\x00null", None),
]  # fmt: skip


@pytest.mark.parametrize(("form", "value", "values", "held", "kind"), ROWS)
def test_a_policy_decides_what_the_field_holds_and_its_losses_count(
    form: Any, value: Any, values: dict[str, str], held: Any, kind: str | None
) -> None:
    found, lost = field(form, stored(value), **values)
    assert (found, type(found)) == (held, type(held))
    assert lost == ({("f", kind): 1} if kind else {})
    assert kind is None or kind in LOSSES


def test_a_loss_bears_the_path_of_its_field_whatever_lies_between() -> None:
    document = {"_id": 1, "a": {"b": [{"c": math.nan}, math.inf]}, "x.y": math.nan, "ok": {"d": 1}, "z": 1}
    for mapper in (ItemMapper, StringMapper, DocumentMapper, HashMapper):
        _, lost = projected(mapper, bson.encode(document), nonfinite="as_null")
        kind = "nonfinite_null"
        assert lost == {("a.b.c", kind): 1, ("a.b", kind): 1, ("x.y", kind): 1}, mapper


def test_a_hash_never_omits_its_id() -> None:
    made, lost = projected(HashMapper, bson.encode({"_id": None, "f": None}), nulls="omit")
    (record,) = made  # type: ignore[misc]
    assert isinstance(record, Hash)
    assert record.fields == ((b"_id", b"\x00null"),)
    assert lost == {("f", "null_omitted"): 1}


# --- depth -----------------------------------------------------------------------------------------------------------


def nested(levels: int, innermost: Any) -> bytes:
    value = innermost
    for _ in range(levels):
        value = {"n": value}
    return stored(value)


@pytest.mark.parametrize(
    ("levels", "innermost", "last"),
    [
        (31, 1, None),
        (31, {"$x": [math.nan]}, '{"$$x":[{"$numberDouble":"NaN"}]}'),
        (31, [1, 2], "[1,2]"),
        (30, {"deep": {}}, "{}"),
        (31, bson.MinKey(), '{"$minKey":1}'),
        (31, -0.0, '{"$numberDouble":"-0.0"}'),
        (30, Binary(b"a", 5), '{"$binary":{"base64":"YQ==","subType":"05"}}'),
        (31, bson.Code("f", {"a": 1}), '{"$code":"f","$scope":{"a":1}}'),
        (30, bson.Code("f", {"a": 1}), '{"a":1}'),
    ],
)
def test_what_is_nested_too_deep_becomes_json_when_the_policy_says_so(
    levels: int, innermost: Any, last: str | None
) -> None:
    document = nested(levels, innermost)
    held, lost = field(ItemMapper, document, depth_overflow="json_string")
    texts: list[str] = []
    deepest = 0

    def walk(value: Any, depth: int) -> None:
        nonlocal deepest
        kind, inner = next(iter(value.items()))
        if kind in ("M", "L"):
            deepest = max(deepest, depth)
            for below in inner.values() if kind == "M" else inner:
                walk(below, depth + 1)
        elif kind == "S":
            texts.append(inner)

    walk(held, 1)
    assert deepest <= 31
    if last is None:
        assert lost == {}
    else:
        assert last in texts
        assert {kind for _, kind in lost} == {"depth_json"}
        assert field(ItemMapper, document) == ("E-DDB-DEPTH", {})


# --- what a decoder would change --------------------------------------------------------------------------------------

POINTER = {"$dbPointer": {"$ref": "db.things", "$id": {"$oid": "000102030405060708090a0b"}}}
KEPT = {
    "undefined": {"$undefined": True},
    "symbol": {"$symbol": "sýmbol"},
    "dbPointer": POINTER,
    "undefined in an array": [{"$undefined": True}, None],
    "symbol in an object": {"a.b": {"$symbol": ""}, "$$n": 1},
    "code with an odd scope": {"$code": "f()", "$scope": {"u": {"$undefined": True}}},
    "$id before $ref": {"$$id": None, "$$ref": "things"},
}


@pytest.mark.parametrize("odd", KEPT)
def test_a_deprecated_type_is_kept_as_a_tag_and_nothing_is_lost(odd: str) -> None:
    document = raw(ODD_ELEMENTS[odd])
    assert field(StringMapper, document, "odd") == (KEPT[odd], {})
    assert orjson.loads(field(HashMapper, document, "odd")[0]) == KEPT[odd]
    with pytest.raises(MappingError):
        decode(document)


def test_a_pointer_and_undefined_are_typed_in_dynamodb() -> None:
    assert field(ItemMapper, raw(ODD_ELEMENTS["undefined"]), "odd")[0] == {"M": {"$undefined": {"BOOL": True}}}
    tagged = {"$ref": {"S": "db.things"}, "$id": {"M": {"$oid": {"S": "000102030405060708090a0b"}}}}
    assert field(ItemMapper, raw(ODD_ELEMENTS["dbPointer"]), "odd")[0] == {"M": {"$dbPointer": {"M": tagged}}}


@pytest.mark.parametrize(
    ("values", "held", "kind"),
    [
        ({}, "E-SRC-ANOMALY", None),
        ({"duplicates": "last"}, 0.0, "duplicates_last"),
        ({"duplicates": "first"}, None, "duplicates_first"),
        ({"duplicates": "array"}, [None, "second", 0.0], "duplicates_array"),
    ],
)
def test_fields_of_one_name_follow_their_policy(values: dict[str, str], held: Any, kind: str | None) -> None:
    found, lost = field(StringMapper, raw(ODD_ELEMENTS["two fields of one name"]), "odd", **values)
    assert found == held
    assert lost == ({("odd", kind): 2} if kind else {})


@pytest.mark.parametrize(
    ("values", "held", "kind"),
    [
        ({}, "E-SRC-DECODE", None),
        ({"utf8": "replace"}, "\ufffd text \ufffd", "utf8_replaced"),
        ({"utf8": "tag_bytes"}, {"$invalidUtf8": {"base64": "/yB0ZXh0IMM="}}, None),
    ],
)
def test_text_that_is_no_utf8_follows_its_policy(values: dict[str, str], held: Any, kind: str | None) -> None:
    found, lost = field(StringMapper, raw(ODD_ELEMENTS["invalid UTF-8"]), "odd", **values)
    assert found == held
    assert lost == ({("odd", kind): 1} if kind else {})


REFUSED = {
    "undefined as _id": b"\x06_id\x00",
    "a symbol within the _id": b"\x03_id\x00\x10\x00\x00\x00\x0ea\x00\x02\x00\x00\x00s\x00\x00",
    "an _id that is no text": b"\x02_id\x00\x02\x00\x00\x00\xff\x00",
    "two _ids": b"\x10_id\x00\x01\x00\x00\x00\x10_id\x00\x02\x00\x00\x00",
    "a name that is no text": b"\x0a_id\x00\x0a\xff\x00",
    "array keys that do not count": b"\x0a_id\x00\x04a\x00\x08\x00\x00\x00\x0a1\x00\x00",
    "unknown regex option": b"\x0a_id\x00\x0ba\x00x\x00q\x00",
    "a boolean of 2": b"\x0a_id\x00\x08a\x00\x02",
    "a string of another length": b"\x0a_id\x00\x02a\x00\x01\x00\x00\x00ab\x00",
    "an object of another length": b"\x0a_id\x00\x03a\x00\x06\x00\x00\x00\x00\x00",
    "an unknown type": b"\x0a_id\x00\x20a\x00",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_policy_covers_is_rejected_and_loses_nothing(case: str) -> None:
    body = REFUSED[case] + b"\x00"
    document = (len(body) + 4).to_bytes(4, "little") + body
    losses = Losses()
    with pytest.raises(MappingError) as caught:
        decode_all(document, JsonPolicies(duplicates="last", utf8="replace"), losses)
    assert caught.value.code in ("E-SRC-ANOMALY", "E-SRC-DECODE")
    made, lost = projected(StringMapper, document, duplicates="last", utf8="replace")
    assert isinstance(made, Reject)
    assert lost == {}


@pytest.mark.parametrize("wrong", [-1, 1, 90])
def test_a_document_of_another_length_than_it_says_is_rejected(wrong: int) -> None:
    document = raw(ODD_ELEMENTS["symbol"])
    with pytest.raises(MappingError):
        decode_all((len(document) + wrong).to_bytes(4, "little") + document[4:], JsonPolicies(), Losses())


def test_damaged_bytes_are_rejected_or_kept_and_nothing_else_happens() -> None:
    chance = random.Random(7)
    whole = [raw(element, b"\x02t\x00\x02\x00\x00\x00x\x00") for element in ODD_ELEMENTS.values()]
    refused = 0
    for _ in range(20_000):
        damaged = bytearray(chance.choice(whole))
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            document = decode_all(bytes(damaged), JsonPolicies(duplicates="array", utf8="tag_bytes"), Losses())
        except MappingError:
            refused += 1
        else:
            assert stored_bytes(document) == damaged
    assert 2_000 < refused < 18_000


# --- lossless ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapper", [ItemMapper, StringMapper, HashMapper, DocumentMapper])
def test_every_document_restores_to_its_bytes_or_is_rejected(mapper: Any) -> None:
    @given(raw_documents())
    def holds(document: bytes) -> None:
        made, _ = projected(mapper, document, "lossless", duplicates="last", utf8="replace")
        assert not isinstance(made, Reject)
        (record,) = made
        assert restore(record) == document
        assert projected(mapper, document)[0] != made

    holds()


@pytest.mark.parametrize(
    ("mapper", "name"), [(ItemMapper, "_raw"), (HashMapper, "_raw"), (DocumentMapper, "offramp_raw")]
)
def test_a_field_in_the_place_of_the_raw_bytes_rejects_its_document(mapper: Any, name: str) -> None:
    document = bson.encode({"_id": 1, name: "mine"})
    made, _ = projected(mapper, document, "lossless")
    assert isinstance(made, Reject)
    assert (made.code, made.field) == ("E-NAME-COLLISION", name)
    assert not isinstance(projected(mapper, document)[0], Reject)


def test_the_raw_bytes_of_a_string_are_its_last_member_and_no_field_can_be_taken_for_them() -> None:
    made, _ = projected(StringMapper, bson.encode({"_id": 1, "$raw": "mine", "b": 2}), "lossless")
    assert not isinstance(made, Reject)
    held = orjson.loads(made[0].value)  # type: ignore[attr-defined]
    assert list(held) == ["_id", "$$raw", "b", "$raw"]


def test_the_raw_bytes_count_toward_the_size_of_an_item() -> None:
    document = bson.encode({"_id": 1, "text": "x" * 250_000})
    assert not isinstance(projected(ItemMapper, document)[0], Reject)
    made, _ = projected(ItemMapper, document, "lossless")
    assert isinstance(made, Reject)
    assert made.code == "E-DDB-SIZE"


def test_a_document_that_its_record_would_not_give_back_is_rejected() -> None:
    losses = Losses()
    mapper = StringMapper(StringMapper.Options(fidelity="lossless"), "r", losses)
    projection = Projection(mapper, losses, ANY_RECORD, transformation=lambda _: ({"_id": 1},), lossless=True)
    made = projection.map(bson.encode({"_id": 1, "f": 2}))
    assert isinstance(made, Reject)
    assert made.code == "E-MAP-LOSSLESS"


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_losses_name_a_few_documents_and_a_bounded_number_of_fields() -> None:
    fields: LossFields = {}
    for number in range(MOST_LOSS_FIELDS + 50):
        count_lost(fields, [(f"field {number}", "neg_zero"), ("same", "neg_zero")], f"n:{number}")
    assert fields["same", "neg_zero"].count == MOST_LOSS_FIELDS + 50
    assert fields["same", "neg_zero"].examples == [f"n:{number}" for number in range(LOSS_EXAMPLES)]
    assert fields[OTHER_FIELDS, "neg_zero"].count == 51
    assert sum(loss.count for loss in fields.values()) == 2 * (MOST_LOSS_FIELDS + 50)
