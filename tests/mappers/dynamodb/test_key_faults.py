"""All faults of a document's keys at once, each with what to write."""

from __future__ import annotations

from typing import Any

import pytest

from mappers.contract import KeyFault, Losses
from mappers.dynamodb.indexes import Index
from mappers.dynamodb.keys import Key, KeyAttribute
from mappers.dynamodb.mapper import ItemMapper


def faults(document: dict[str, Any], **options: Any) -> list[KeyFault]:
    return list(ItemMapper(ItemMapper.Options(**options), "orders", Losses()).key_faults(document))


@pytest.mark.parametrize(
    ("value", "found", "remedy"),
    [
        (7, "is of type N (a number)", "write {name: customer, type: N}"),
        (b"7", "is of type B (bytes)", "write {name: customer, type: B}"),
        (
            True,
            "is of type BOOL, which keys nothing",
            "write {name: customer_key, value: '{customer}#{_id}'}, or another field",
        ),
        (
            None,
            "is of type NULL, which keys nothing",
            "write _id in its place, or exclude such documents with `where: {customer: {$ne: null}}`",
        ),
        ([1], "is of type L, which keys nothing", "write _id in its place, or another field"),
        (
            "",
            "has a value that DynamoDB does not take (is 0 bytes; DynamoDB takes 1 to 2048)",
            "write _id in its place, or another field",
        ),
        ("x" * 3000, "has a value that DynamoDB does not take (is 3000 bytes; DynamoDB takes 1 to 2048)", None),
    ],
)
def test_a_value_that_does_not_fit_has_what_to_write(value: Any, found: str, remedy: str | None) -> None:
    (fault,) = faults({"_id": 1, "customer": value}, key=Key("customer"))
    assert (fault.attribute, fault.found) == ("customer", found)
    assert remedy is None or fault.remedy == remedy


def test_every_key_of_the_table_and_of_its_indexes_is_judged() -> None:
    document = {"_id": 1, "customer": 7, "address": {"zip": 1010}}
    indexes = {"by_zip": Index(partition=KeyAttribute(name="zip", field="address.zip")), "by_none": Index("absent")}
    found = faults(document, key=Key("customer", "created"), indexes=indexes)
    assert [(fault.attribute, fault.remedy.partition(",")[0]) for fault in found] == [
        ("customer", "write {name: customer"),
        ("created", "write _id in its place"),
        ("zip", "write {name: zip"),
    ]
    assert found[1].found == "is missing (field created)"
    assert "field: address.zip, type: N" in found[2].remedy
    assert faults(document, key=Key("customer", "created"), indexes=indexes, index_mismatch="omit") == found[:2]


def test_a_document_that_fits_has_no_fault() -> None:
    key = Key(KeyAttribute(name="customer", type="N"), "{created}#{_id}")
    assert faults({"_id": 1, "customer": 7, "created": "2026"}, key=key) == []


def test_a_wrong_id_is_a_fault_too() -> None:
    (fault,) = faults({"_id": 0.5}, key=Key(KeyAttribute(name="_id", type="N")))
    assert "not a whole number" in fault.found


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Key(), False),
        (Key("PREFIX#{_id}"), True),  # A field may have the name pk.
        (Key("customer"), True),
        (Key("_id", "created"), True),
        (Key(KeyAttribute(name="_id", type="N")), True),
    ],
)
def test_only_keys_from_fields_need_documents_to_be_looked_at(key: Key, expected: bool) -> None:
    assert ItemMapper(ItemMapper.Options(key=key), "orders", Losses()).keys_from_fields is expected


@pytest.mark.parametrize(
    ("options", "name", "remedy"),
    [
        (
            {"key": Key(KeyAttribute(name="sku", value="{sku}"))},
            "sku",
            "write {name: sku_key_, value: '{sku}'}",
        ),
        ({"key": Key("A#{_id}")}, "pk", "write {name: pk_key, value: 'A#{_id}'}"),
        (
            {"indexes": {"by_zip": Index(partition=KeyAttribute(name="sku", field="a.zip", type="N"))}},
            "sku",
            "write {name: sku_key_, field: a.zip, type: N}",
        ),
        ({"expires": "at", "ttl_attribute": "pk"}, "pk", "write another ttl_attribute"),
        ({"fidelity": "lossless"}, "_raw", "drop or rename the field _raw (fields, transforms)"),
    ],
)
def test_a_name_that_a_field_has_too_is_a_fault_with_a_name_that_is_free(
    options: dict[str, Any], name: str, remedy: str
) -> None:
    document = {"_id": 1, "sku": "a", "sku_key": "b", "pk": 1, "a": {"zip": 5}, "_raw": 2}
    (fault,) = faults(document, **options)
    assert (fault.attribute, "is the name of a field too" in fault.found, fault.remedy) == (name, True, remedy)


def test_where_the_id_is_in_the_key_already_the_other_part_can_go() -> None:
    (fault,) = faults({"_id": 1}, key=Key("_id", "created"))
    assert fault.remedy.startswith("remove it, as _id alone tells documents apart, or exclude")
    (fault,) = faults({"_id": 1, "open": True}, key=Key("_id", "open"))
    assert fault.remedy.startswith("write {name: open_key, value: '{open}'}")
    indexes = {"by_open": Index(partition="open")}
    (fault,) = faults({"_id": 1, "open": None}, indexes=indexes)
    assert fault.remedy.startswith("set `index_mismatch: omit`, or exclude")
