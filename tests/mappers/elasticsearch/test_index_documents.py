"""R11, R12, R20, R32: index documents, their ids and their `_source`."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from bson import ObjectId

from mappers.contract import Losses, MappingError
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.records import IndexDocument, index_document

HEX = "5f3b1c2d4e5f60718293a4b5"


def mapped(document: dict[str, Any]) -> IndexDocument:
    (one,) = DocumentMapper(DocumentMapper.Options(), "projects", Losses())(document)
    return one


def test_a_document_is_its_fields_in_order_under_its_typed_id() -> None:
    one = mapped({"z": 5, "_id": ObjectId(HEX), "a": [5], "n": math.nan, "$x": None})
    assert one.address == one.id == f"o:{HEX}"
    assert one.source == b'{"z":5,"a":[5],"n":{"$numberDouble":"NaN"},"$$x":null}'
    assert one.expires_at_ms is None


def test_the_id_is_nowhere_in_the_source() -> None:
    assert mapped({"_id": "unmistakable"}).source == b"{}"
    assert mapped({"_id": {"part": "unmistakable"}, "f": 1}).source == b'{"f":1}'


@pytest.mark.parametrize("name", ["_source", "_index", "_routing", "_field_names", "_ignored", "_doc_count"])
def test_a_field_of_elasticsearchs_own_name_is_escaped_at_the_top_only(name: str) -> None:
    one = orjson.loads(mapped({"_id": 1, name: {name: 1, "_id": 2}}).source)
    assert one == {"%5F" + name[1:]: {name: 1, "_id": 2}}
    both = orjson.loads(mapped({"_id": 1, name: 1, "%5F" + name[1:]: 2}).source)
    assert both == {"%5F" + name[1:]: 1, "%255F" + name[1:]: 2}


def test_a_dotted_name_is_no_path() -> None:
    assert orjson.loads(mapped({"_id": 1, "a.b": 1, "a": {"b": 2}, "": 3, ".": 4}).source) == {
        "a%2Eb": 1,
        "a": {"b": 2},
        "%00E": 3,
        "%2E": 4,
    }


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_an_id_over_512_bytes_is_shortened_and_kept_whole_in_the_source(letter: str) -> None:
    width = len(letter.encode())
    longest = "x" * (510 % width) + letter * (510 // width)
    one = mapped({"_id": longest, "f": 1})
    assert len(one.id.encode()) == 512
    assert (one.id, one.source) == (f"s:{longest}", b'{"f":1}')
    longer = mapped({"_id": longest + "x", "f": 1})
    assert longer.id.startswith("h:")
    assert orjson.loads(longer.source) == {"f": 1, "offramp_id": f"s:{longest}x"}
    assert longer.id != mapped({"_id": longest + "y"}).id


def test_a_number_whose_exact_text_is_long_is_shortened_too() -> None:
    one = mapped({"_id": 5e-324})
    assert one.id.startswith("h:")
    assert orjson.loads(one.source)["offramp_id"].startswith("n:4.94065645841246544")


def test_a_field_in_the_place_of_the_whole_id_is_refused_only_where_it_is_needed() -> None:
    assert mapped({"_id": 1, "offramp_id": 2}).source == b'{"offramp_id":2}'
    with pytest.raises(MappingError) as caught:
        mapped({"_id": "x" * 600, "offramp_id": 2})
    assert (caught.value.code, caught.value.field) == ("E-NAME-COLLISION", "offramp_id")


def test_documents_are_the_same_whatever_the_order_of_their_names() -> None:
    one = mapped({"_id": 1, "a": {"b": 1, "c": [{"d": 1, "e": 2}]}, "f": -0.0})
    other = mapped({"f": -0.0, "a": {"c": [{"e": 2, "d": 1}], "b": 1}, "_id": 1})
    assert one.source != other.source
    assert one.canonical() == other.canonical()


@pytest.mark.parametrize(
    "change",
    [
        *({"f": 1.0}, {"f": "1"}, {"f": True}, {"f": [1]}, {"f": None}, {"f": {}}, {"f": 2}, {"g": None}),
        *({"a": [2, 1]}, {"a": [1, 2, 2]}, {"a": [[1, 2]]}, {"z": 0.0}, {"l": 2**53}, {"n": {"numberDouble": "NaN"}}),
    ],
)
def test_a_document_that_differs_anywhere_is_another(change: dict[str, Any]) -> None:
    document = {"_id": 1, "f": 1, "a": [1, 2], "z": -0.0, "l": 2**53 + 1, "n": math.nan}
    assert mapped({**document, **change}).canonical() != mapped(document).canonical()


def test_a_document_of_ones_own_has_the_id_it_is_given() -> None:
    one = index_document({"a.b": 1, "when": None}, "é" * 256)
    assert (one.id, one.source) == ("é" * 256, b'{"a%2Eb":1,"when":null}')


@pytest.mark.parametrize("identifier", ["", "x" * 513, "é" * 257])
def test_an_id_elasticsearch_does_not_take_is_refused(identifier: str) -> None:
    with pytest.raises(MappingError) as caught:
        index_document({}, identifier)
    assert (caught.value.code, caught.value.field) == ("E-ES-ID", "_id")
