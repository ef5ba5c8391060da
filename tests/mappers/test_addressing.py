"""Where a document's records are, by its `_id` alone: where the document itself puts them, or not known at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from bson import ObjectId
from examples import examples
from hypothesis import given, settings
from strategies import ids

from flows.plan.plugins import mapper_type
from mappers.contract import Addressing, Losses, MappingError
from mappers.dynamodb.records import Key, KeyAttribute

FIELDS: Mapping[str, Any] = {
    "n": 7,
    "name": "Ada",
    "list": ["a", "b"],
    "at": {"type": "Point", "coordinates": [1, 2]},
}
BY_ID: list[tuple[str, dict[str, Any]]] = [
    ("item", {}),
    ("item", {"key": Key("P#{_id}", KeyAttribute("sk", value="X#{_id}"))}),
    ("item", {"key": Key(KeyAttribute("id", field="_id"))}),
    ("string", {}),
    ("string", {"key": "a:{_id}:b"}),
    ("counter", {"value": "n"}),
    ("hash", {}),
    ("json", {}),
    ("sorted_set", {"score": "n"}),
    ("geo", {"location": "at", "key": "places"}),
    ("set", {"values": "list"}),
    ("set", {"member": "_id", "key": "all"}),
    ("list", {"values": "list"}),
    ("stream", {"entry": "_id"}),
    ("document", {}),
    ("document", {"routing": "{_id}"}),
]
BY_OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("item", {"key": Key("name")}),
    ("item", {"key": Key("_id", "name")}),
    ("item", {"key": Key("N#{name}", "{_id}")}),
    ("string", {"key": "a:{name}"}),
    ("string", {"key": "a:{_id}:{name}"}),
    ("counter", {"value": "n", "key": "a:{name}"}),
    ("hash", {"key": "a:{name}"}),
    ("json", {"key": "a:{name}"}),
    ("sorted_set", {"score": "n", "member": "name"}),
    ("sorted_set", {"score": "n", "key": "a:{name}"}),
    ("geo", {"location": "at", "member": "name"}),
    ("set", {"values": "list", "key": "a:{name}"}),
    ("set", {"member": "name"}),
    ("set", {"member": "_id", "key": "a:{list}", "each": "list"}),
    ("list", {"values": "list", "key": "a:{name}"}),
    ("stream", {"entry": "n"}),
    ("stream", {"entry": "_id", "key": "a:{name}"}),
    ("document", {"routing": "name"}),
    ("document", {"index": "logs-{day:%Y}", "undated_index": "logs-none"}),
]


def made(name: str, options: Mapping[str, Any]) -> Any:
    kind = mapper_type(name)
    return kind(kind.Options(**options), "route", Losses())


@pytest.mark.parametrize(("name", "options"), BY_ID)
@settings(max_examples=examples(30))
@given(identity=ids())
def test_an_address_by_id_alone_is_where_the_whole_document_goes(
    name: str, options: Mapping[str, Any], identity: Any
) -> None:
    mapper = made(name, options)
    document = {"_id": identity, **FIELDS}
    try:
        expected = [record.address for record in mapper(document)]
    except MappingError:
        return  # Nothing was ever written of it, so any address will do.
    assert mapper.addresses({"_id": identity}) == expected


@pytest.mark.parametrize(("name", "options"), BY_OTHERS)
def test_no_address_is_told_where_other_fields_decide(name: str, options: Mapping[str, Any]) -> None:
    mapper = made(name, options)
    assert isinstance(mapper, Addressing)
    assert mapper.addresses({"_id": ObjectId()}) is None
