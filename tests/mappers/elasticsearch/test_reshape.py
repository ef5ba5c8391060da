"""R82: documents whose fields conflict, shaped as the design says."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import documents as any_document

from mappers.census import Census, kind
from mappers.contract import Losses, MappingError
from mappers.elasticsearch.mapper import DocumentMapper

MIXED = ({"f": 1}, {"f": 2}, {"f": "x"}, {"f": {"a": 1}}, {"f": math.nan})


def following(*documents: dict[str, Any], **options: Any) -> DocumentMapper:
    mapper = DocumentMapper(DocumentMapper.Options(**options), "things", Losses())
    census = Census(kind)
    for document in documents:
        census.add(document)
    mapper.follow(orjson.loads(orjson.dumps(mapper.design(census))))  # as the state keeps it
    return mapper


def mapped(mapper: DocumentMapper, document: dict[str, Any]) -> Any:
    (one,) = mapper({"_id": 1, **document})
    return orjson.loads(one.source)


def test_kept_conflicts_change_no_document() -> None:
    mapper = following(*MIXED)
    assert mapped(mapper, {"f": {"a": 1}, "g": 1}) == {"f": {"a": 1}, "g": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        ("x", '"x"'),
        ("1", '"1"'),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ([1, "x"], '[1,"x"]'),
        (math.nan, '{"$numberDouble":"NaN"}'),
        (None, None),
    ],
)
def test_a_json_string_tells_every_value_apart(value: Any, text: str | None) -> None:
    assert mapped(following(*MIXED, conflict="json_string"), {"f": value, "g": 1}) == {"f": text, "g": 1}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((1, "f__num"), (1.5, "f__num"), ([1, [2]], "f__num"), ("x", "f__str"), ({"a": 1}, "f__obj")),
        *(([{"a": 1}], "f__obj"), (math.inf, "f__tag"), (None, "f__num"), ([], "f__num"), (True, "f__bool")),
    ],
)
def test_split_puts_each_kind_in_a_field_of_its_own(value: Any, name: str) -> None:
    plain = mapped(following({}), {"f": value})["f"]
    assert mapped(following(*MIXED, conflict="split"), {"f": value}) == {name: plain}


def test_split_refuses_what_it_would_lose() -> None:
    mapper = following(*MIXED, conflict="split")
    for document, code in (({"f": [1, "x"]}, "E-ES-CONFLICT"), ({"f": 1, "f__num": 2}, "E-NAME-COLLISION")):
        with pytest.raises(MappingError) as refused:
            mapped(mapper, document)
        assert refused.value.code == code


def test_the_rarer_kinds_are_rejected_where_the_plan_says_so() -> None:
    mapper = following(*MIXED, conflict="reject")
    assert mapped(mapper, {"f": [1, None]}) == {"f": [1, None]}
    for value in ("secret", {"a": 1}, [1, "secret"], math.nan):
        with pytest.raises(MappingError) as refused:
            mapped(mapper, {"f": value})
        assert (refused.value.code, refused.value.field) == ("E-ES-CONFLICT", "f")
        assert "secret" not in str(refused.value)


def test_conflicts_are_found_below_objects_and_arrays_at_their_own_level_only() -> None:
    documents: list[dict[str, Any]] = [{"a": {"f": 1}}, {"a": [{"f": "x"}, {"f": 2}]}, {"f": 1}]
    mapper = following(*documents, conflict="split")
    assert mapped(mapper, {"f": 1, "a": [{"f": 1, "g": 2}, {"f": "x"}, 5]}) == {
        "f": 1,
        "a": [{"f__num": 1, "g": 2}, {"f__str": "x"}, 5],
    }


def test_a_conflict_within_a_field_that_conflicts_itself_is_split_too() -> None:
    mapper = following({"f": 1}, {"f": {"g": 1}}, {"f": {"g": "x"}}, conflict="split")
    assert mapped(mapper, {"f": {"g": "x"}}) == {"f__obj": {"g__str": "x"}}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"census_documents": 0}, "census_documents"),
        ({"field_limit": 1}, "field_limit"),
        ({"nested": ["a..b"]}, "nested"),
        ({"geo": [""]}, "geo"),
        ({"census": "none", "nested": ["a"]}, "nested"),
        ({"census": "none", "conflict": "split"}, "conflict"),
        ({"census": "none", "field_limit": 500}, "field_limit"),
        ({"census": "full", "census_documents": 7}, "census_documents"),
        ({"census_documents": 7}, "census_documents"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        DocumentMapper(DocumentMapper.Options(**options), "things", Losses())


@pytest.mark.parametrize(
    ("options", "mapped", "documents"),
    [
        ({}, False, 0),
        ({}, True, None),
        ({"census": "full"}, True, 0),
        ({"census": "none"}, False, None),
        ({"census": "sample", "census_documents": 7}, True, 7),
        ({"geo": ["at"]}, True, 0),
        ({"field_limit": 500}, True, 0),
    ],
)
def test_all_documents_are_looked_at_unless_the_plan_says_otherwise(
    options: dict[str, Any], mapped: bool, documents: int | None
) -> None:
    assert DocumentMapper(DocumentMapper.Options(**options), "things", Losses()).survey(mapped=mapped) == documents


# What Elasticsearch 8 refuses of a document, of the types a design uses: the local server takes more than it does.

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def refusals(fields: dict[str, Any], source: dict[str, Any]) -> list[str]:
    """Name every field that a strict index of these fields refuses of a document."""
    found = []
    for name, value in source.items():
        if name not in fields:
            found += [f"{name!r} is not mapped"] if name.strip() else []  # refused by every index, census or not
        else:
            found += [f"{name}: {fault}" for fault in _refused(fields[name], value)]
    return found


def _refused(field: dict[str, Any], value: Any) -> list[str]:
    if field.get("enabled") is False or value is None:
        return []
    if isinstance(value, list):
        return [fault for one in value for fault in _refused(field, one)]
    if "properties" in field:
        return refusals(field["properties"], value) if isinstance(value, dict) else ["no object"]
    takes = {
        "text": not isinstance(value, dict),
        "keyword": not isinstance(value, dict),
        "binary": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "long": type(value) is int and -(2**63) <= value < 2**63,
        "double": type(value) in (int, float),
        "date": isinstance(value, str) and _ISO.fullmatch(value) is not None,
        "flattened": isinstance(value, dict),
    }[field["type"]]
    return [] if takes else [f"no {field['type']}"]


@pytest.mark.parametrize(
    ("fields", "source", "count"),
    [
        ({"f": {"type": "long"}}, {"f": [1, None, 2**63 - 1]}, 0),
        ({"f": {"type": "long"}}, {"f": [1.0, "1", True, 2**63, {}]}, 5),
        ({"f": {"type": "text"}}, {"f": ["x", 1, True], "g": None}, 1),
        ({"f": {"type": "flattened"}}, {"f": [{"a": 1}, "x", None]}, 1),
        ({"f": {"properties": {"a": {"type": "long"}}}}, {"f": [{"a": 1}, {"b": 1}, 1]}, 2),
        ({"f": {"type": "date"}}, {"f": ["2024-01-01T00:00:00.000Z", "today"]}, 1),
        ({"f": {"type": "object", "enabled": False}}, {"f": [1, {"any": 1}]}, 0),
    ],
)
def test_the_validator_tells_what_elasticsearch_refuses(
    fields: dict[str, Any], source: dict[str, Any], count: int
) -> None:
    assert len(refusals(fields, source)) == count


@pytest.mark.parametrize("conflict", ["keep", "json_string", "split", "reject"])
@given(documents=st.lists(any_document(), min_size=1, max_size=6))
def test_an_index_designed_for_documents_takes_them_all(conflict: str, documents: list[dict[str, Any]]) -> None:
    made = Census(kind)
    for document in documents:
        made.add(document)
    mapper = DocumentMapper(DocumentMapper.Options(conflict=conflict), "things", Losses())  # type: ignore[arg-type]
    design = mapper.design(made)
    mapper.follow(design)
    fields = {**design["properties"], "offramp_id": {"type": "keyword"}}
    for document in documents:
        try:
            (one,) = mapper(document)
        except MappingError:  # a reject, and it says why
            continue
        assert refusals(fields, orjson.loads(one.source)) == []
