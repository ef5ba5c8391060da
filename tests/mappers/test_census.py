"""R81-R84: what a census says of a collection, and the mapping that follows from it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from strategies import documents as any_document

from mappers.census import MOST_NAMES, Census, geo_form, kind
from mappers.contract import Losses
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.mapping import FAMILIES, Wishes, design
from mappers.policies import IndexPolicies

KEYWORD = {"type": "keyword", "ignore_above": 8191}
TEXT = {"type": "text", "fields": {"keyword": KEYWORD}}
FLATTENED = {"type": "flattened", "ignore_above": 8191}
UNSEARCHED = {"type": "object", "enabled": False}
LONG = {"type": "long", "coerce": False}
DOUBLE = {"type": "double", "coerce": False}
DATE = {"type": "date", "format": "strict_date_optional_time||epoch_millis"}


def census(documents: Iterable[dict[str, Any]]) -> Census:
    made = Census(kind)
    for document in documents:
        made.add(document)
    return made


def designed(*documents: dict[str, Any], **wishes: Any) -> dict[str, Any]:
    return design(census(documents), Wishes(**wishes))


def properties(*documents: dict[str, Any], **wishes: Any) -> dict[str, Any]:
    made: dict[str, Any] = designed(*documents, **wishes)["properties"]
    return made


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "string"),
        (ObjectId(), "id"),
        (Binary(b"0" * 16, 4), "id"),
        (Binary(b"0" * 15, 4), "tag"),
        (Binary(b"0" * 16, 3), "tag"),
        (b"a", "binary"),
        (1, "long"),
        (Int64(1), "long"),
        (True, "bool"),
        (1.0, "double"),
        (-0.0, "double"),
        (math.inf, "tag"),
        (math.nan, "tag"),
        (Decimal128("1"), "decimal"),
        (Decimal128("NaN"), "tag"),
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "date"),
        (DatetimeMS(2**60), "tag"),
        (Timestamp(1, 1), "tag"),
        (Regex("a"), "tag"),
        (Code("a"), "tag"),
        (MinKey(), "tag"),
        (MaxKey(), "tag"),
        (None, "null"),
    ],
)
def test_every_value_has_the_kind_of_its_form_in_json(value: Any, expected: str) -> None:
    assert kind(value) == expected


@pytest.mark.parametrize(
    ("value", "mapping"),
    [
        ("a", TEXT),
        (ObjectId(), KEYWORD),
        (Decimal128("1.10"), KEYWORD),
        (b"a", {"type": "binary"}),
        (1, LONG),
        (1.5, DOUBLE),
        (True, {"type": "boolean"}),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), DATE),
        (Timestamp(1, 1), UNSEARCHED),
        (math.nan, UNSEARCHED),
        ([1, None, [2]], LONG),
        (None, UNSEARCHED),
        ([], UNSEARCHED),
        ({}, UNSEARCHED),
        ({"a": 1}, {"properties": {"a": LONG}}),
        ([{"a": 1}, {"b": "x"}], {"properties": {"a": LONG, "b": TEXT}}),
        (DBRef("c", 1), {"properties": {"$$ref": TEXT, "$$id": LONG}}),
        ({" ": 1}, UNSEARCHED),
        ({"a": {" ": {"b": 1}}}, {"properties": {"a": UNSEARCHED}}),
    ],
)
def test_a_field_of_one_kind_is_mapped_as_that_kind(value: Any, mapping: Any) -> None:
    assert properties({"_id": 1, "f": value}) == {"f": mapping}
    assert properties({"f": None}, {"f": value}, {}) == {"f": mapping}


def test_names_are_mapped_as_the_index_gets_them() -> None:
    found = properties({"_source": {"_source": 1}, "a.b": 1, "$x": 1, "100%": 1, "": 1})
    assert set(found) == {"%5Fsource", "a%2Eb", "$$x", "100%25", "%00E"}
    assert set(found["%5Fsource"]["properties"]) == {"_source"}


def test_a_name_that_no_index_takes_does_not_stop_the_others() -> None:
    made = designed({"  ": 1, "a": 1})
    assert set(made["properties"]) == {"a"}
    assert "names that consist of spaces" in made["notes"][0]


@pytest.mark.parametrize("value", [7, 1.5, True, b"x", {"a": 1}, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)])
def test_a_field_of_the_name_of_long_ids_takes_these_ids_too(value: Any) -> None:
    made = designed({"offramp_id": value})
    assert made["properties"] == {"offramp_id": UNSEARCHED}
    assert "offramp_id" in made["notes"][0]


@pytest.mark.parametrize("value", ["text", ObjectId(), None])
def test_a_field_of_the_name_of_long_ids_that_takes_text_is_mapped_as_any_other(value: Any) -> None:
    assert properties({"offramp_id": value})["offramp_id"] == properties({"f": value})["f"]


def test_whole_and_broken_numbers_are_one_family_and_lose_nothing_in_the_index() -> None:
    assert properties({"f": 1}, {"f": 1.5}) == {"f": DOUBLE}


def test_a_conflict_in_the_last_document_is_seen() -> None:
    many = [{"f": 1}] * 5000
    assert properties(*many) == {"f": LONG}
    assert properties(*many, {"f": "x"}) == {"f": TEXT}
    assert properties(*many, {"f": {"a": 1}}) == {"f": UNSEARCHED}
    assert properties(*many, {"f": [1, math.nan]}) == {"f": UNSEARCHED}


def test_conflicts_are_resolved_as_the_plan_says_and_told() -> None:
    mixed: list[dict[str, Any]] = [{"f": 1}, {"f": 2.5}, {"f": "x"}, {"f": {"a": 1}}]
    assert properties(*mixed, conflict="json_string") == {"f": {"type": "text"}}
    assert properties(*mixed, conflict="reject") == {"f": DOUBLE}
    split = designed(*mixed, conflict="split")
    assert split["properties"] == {"f__num": DOUBLE, "f__str": TEXT, "f__obj": {"properties": {"a": LONG}}}
    assert split["reshape"] == [{"path": ["f"], "how": "split", "family": "num"}]
    assert "f (1 double, 1 long, 1 object, 1 string)" in split["notes"][0]
    assert designed(*mixed)["reshape"] == []


def test_a_split_field_never_takes_the_place_of_another() -> None:
    with pytest.raises(ValueError, match="f__num"):
        designed({"f": 1}, {"f": "x"}, {"f__num": 5}, conflict="split")


@pytest.mark.parametrize(
    "name",
    [
        lambda number: f"user {number * 7919}",
        lambda number: f"{number:024x}",
        lambda number: str(number),
        lambda number: f"2024-01-{number:02}",
    ],
)
def test_an_object_whose_names_are_keys_is_flattened(name: Callable[[int], str]) -> None:
    assert properties(*({"by": {name(number): number}} for number in range(200))) == {"by": FLATTENED}


def test_a_wide_object_whose_names_stop_coming_keeps_its_fields() -> None:
    wide = {f"field {number}": number for number in range(200)}
    assert len(properties({"by": wide}, {"by": wide}, {"by": wide})["by"]["properties"]) == 200


def test_a_census_of_a_map_is_bounded() -> None:
    made = census({"by": {f"user {number}": number}} for number in range(MOST_NAMES * 2))
    assert made.root.children["by"].crowded
    assert made.root.children["by"].children == {}
    assert design(made, Wishes())["properties"] == {"by": FLATTENED}


def test_the_largest_objects_are_flattened_to_stay_within_the_budget() -> None:
    document = {
        "small": {str(letter): 1 for letter in "abc"},
        "large": {f"f{number}": "x" for number in range(30)},
        "top": 1,
    }
    # 1 + 3, 1 + 30 * 2 with the keywords, 1; and two for the whole of a shortened id and the exact BSON.
    assert designed(document, field_limit=68)["notes"] == []
    made = designed(document, field_limit=67)
    assert made["properties"]["large"] == FLATTENED
    assert set(made["properties"]["small"]["properties"]) == {"a", "b", "c"}
    assert made["notes"] == ["flattened to stay within field_limit: large"]


def test_more_fields_at_the_top_than_an_index_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="field_limit: the documents need 999 fields"):
        designed({f"f{number}": 1 for number in range(999)})
    assert len(properties({f"f{number}": 1 for number in range(998)})) == 998


def test_what_the_plan_names_is_never_flattened() -> None:
    document = {"large": {"at": [1, 2], **{f"f{number}": 1 for number in range(30)}}}
    with pytest.raises(ValueError, match="field_limit"):
        designed(document, geo=["large.at"], field_limit=20)


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


def test_objects_below_the_depth_an_index_takes_are_flattened() -> None:
    def depth(mapping: Any) -> int:
        return 1 + max((depth(one.get("properties", {})) for one in mapping.values()), default=0) if mapping else 0

    assert depth(properties(nested(20))) == 20
    assert "flattened" not in str(properties(nested(20)))
    assert depth(properties(nested(21))) == 20
    assert str(FLATTENED) in str(properties(nested(21)))
    assert str(UNSEARCHED) in str(properties(nested(60))), "a flattened field takes 20 levels itself"


def within(levels: int, leaf: Any) -> dict[str, Any]:
    return {"a": leaf if levels == 1 else within(levels - 1, leaf)}


def refused_paths(fields: Any, above: int = 0) -> list[str]:
    """What a server refuses of a mapping, as Elasticsearch 7.17 and OpenSearch 2.19 were seen to: by depth."""
    refused = []
    for name, definition in fields.items():
        inner = definition.get("properties")
        level = above + 1
        if level > 20 or (level == 20 and (inner or definition.get("type") in ("object", "nested"))):
            refused.append(name)
        refused += [f"{name}.{path}" for path in refused_paths(inner or {}, level)]
    return refused


LEAVES = [1, "x", None, [], {}, Regex("a"), [{"b": 1}, {"b": 2}], [[1]], {" ": 1}, MinKey()]


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
def test_no_document_is_so_deep_that_its_index_is_refused(leaf: Any) -> None:
    for levels in (*range(15, 26), 38, 39, 40, 41, 42, 60, 95):
        assert refused_paths(properties(within(levels, leaf))) == [], levels
        assert refused_paths(properties(within(levels, leaf), within(levels, "another kind"))) == [], levels


def test_what_is_within_twenty_levels_keeps_its_mapping() -> None:
    assert "flattened" not in str(properties(within(20, "x")))
    found = properties(within(18, {"null": None, "n": 1}))
    assert "'null': {'type': 'object', 'enabled': False}" in str(found), "an object may end at 19 levels"
    assert "'n': {'type': 'long', 'coerce': False}" in str(found)
    made = designed(within(19, {"null": None, "n": 1}))
    assert str(FLATTENED) in str(made["properties"])
    assert made["notes"] == ["deeper than 20 levels, so flattened: " + ".".join("a" * 19)]


def test_what_the_plan_wants_mapped_deeper_than_an_index_takes_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"nested, geo: a\..* deeper than 20 levels"):
        designed(within(20, [{"b": 1}, {"b": 2}]), nested=[".".join("a" * 20)])


def arrays(levels: int) -> Any:
    return [arrays(levels - 1)] if levels else 1


def test_arrays_nested_deeper_than_opensearch_takes_are_left_to_the_object_above() -> None:
    assert properties({"o": {"p": arrays(20)}}) == {"o": {"properties": {"p": LONG}}}
    assert properties({"o": {"p": arrays(21), "q": {"r": 1}}}) == {"o": FLATTENED}
    assert properties({"o": {"p": [{"q": arrays(15)}]}})["o"]["properties"]["p"] == {"properties": {"q": LONG}}
    with pytest.raises(ValueError, match=r"nested, geo: o is or holds arrays nested more than 20"):
        designed({"o": {"p": arrays(21), "l": [{"r": 1}, {"r": 2}]}}, nested=["o.l"])


def test_the_levels_of_a_tag_count_as_those_of_an_object() -> None:
    """A flattened field takes 20 levels of objects, and a regular expression is written as two."""
    assert properties({"by": {f"{number:024}": within(16, 1) for number in range(5)}})["by"] == FLATTENED
    assert properties({"by": {f"{number:024}": within(18, Regex("a")) for number in range(5)}})["by"] == UNSEARCHED


def test_a_census_has_a_limit_in_all_and_says_what_it_left_out() -> None:
    made = Census(kind, most_fields=300)
    for number in range(400):
        made.add({"deep": {"by": {f"x{number % 40}": {f"y{number}": {"z": 1}}}}, "kept": {"a": 1, "b": "x"}})
        assert made.root.size() <= 300 + 10
    found = design(made, Wishes())
    assert found["properties"]["deep"]["properties"]["by"] == FLATTENED
    assert found["properties"]["kept"]["properties"]["a"] == LONG
    assert found["cut"] == ["more than 20000 fields in the census, so flattened: deep.by"]
    assert designed({"a": {"b": 1}})["cut"] == []


def test_arrays_of_objects_are_nested_where_the_plan_says_and_told_where_not() -> None:
    documents: list[dict[str, Any]] = [{"lines": [{"a": 1}, {"a": 2}]}, {"lines": []}]
    assert properties(*documents, nested=["lines"])["lines"]["type"] == "nested"
    assert designed(*documents, nested=["lines"])["notes"] == []
    assert "lines" in designed(*documents)["notes"][0]
    assert designed({"lines": [{"a": 1}]})["notes"] == []
    with pytest.raises(ValueError, match="nested: lines"):
        designed(*documents, {"lines": [1]}, nested=["lines"])
    with pytest.raises(ValueError, match="nested: no document"):
        designed(*documents, nested=["line"])
    assert designed(nested=["line"])["properties"] == {}, "an empty collection contradicts nothing"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ([4.5, 52], "pair"),
        ([[4.5, 52], [5, 53]], "pair"),
        ([181, 0], "other"),
        ([0, 90.1], "other"),
        ([1, 2, 3], "pair"),
        ([[1, 2, 3.5], [4, 5]], "pair"),
        ([1, 2, 3, 4], "other"),
        ([1, 2, math.nan], "other"),
        ([1, 200, 3], "other"),
        ({"type": "Point", "coordinates": [1, 2, 3]}, "point"),
        (["1", "2"], "other"),
        ([True, False], "other"),
        ([math.nan, 1], "other"),
        ({"type": "Point", "coordinates": [1, 2]}, "point"),
        ({"type": "Point", "coordinates": [1, 2], "more": 1}, "other"),
        ({"type": "Point", "coordinates": [1, 200]}, "other"),
        ({"type": "Polygon", "coordinates": []}, "shape"),
        ({"type": "GeometryCollection", "geometries": []}, "shape"),
        ({"lng": 1, "lat": 2}, "other"),
        ("52,4", "other"),
    ],
)
def test_a_place_is_told_from_what_only_looks_like_one(value: Any, form: str) -> None:
    assert geo_form(value) == form


def test_places_are_points_or_shapes_or_refused() -> None:
    point, shape = {"type": "Point", "coordinates": [1, 2]}, {"type": "Polygon", "coordinates": [[[0, 0]]]}
    assert properties({"at": point}, {"at": [1, 2]}, {"at": None}, {"at": []}, geo=["at"]) == {
        "at": {"type": "geo_point"}
    }
    assert properties({"at": point}, {"at": shape}, geo=["at"]) == {"at": {"type": "geo_shape"}}
    for other in ([1, 200], "x", shape):
        with pytest.raises(ValueError, match="geo: at"):
            designed({"at": [1, 2]}, {"at": other}, geo=["at"])


def test_strings_too_long_for_a_keyword_are_counted_by_utf16_units() -> None:
    # As Java counts, which is what ignore_above means.
    assert designed({"f": "x" * 8191}, {"f": "😀" * 4095})["notes"] == []
    assert "f (2)" in designed({"f": "x" * 8192}, {"f": "😀" * 4096})["notes"][0]


@given(any_document())
def test_any_document_can_be_designed_for(document: dict[str, Any]) -> None:
    for conflict in ("keep", "json_string", "split", "reject"):
        made = designed(document, conflict=conflict)
        assert set(made) == {"properties", "reshape", "notes", "cut"}
    assert set(FAMILIES) >= {one for node in census([document]).root.children.values() for one in node.kinds} - {"null"}


def test_a_value_is_of_the_kind_that_the_policies_write() -> None:
    mapper = DocumentMapper(
        DocumentMapper.Options(values=IndexPolicies(int53="string", nonfinite="as_null", uuid_legacy="java")),
        "r",
        Losses(),
    )
    legacy = Binary(bytes(16), 3)
    assert [mapper.kind(value) for value in (2**53, 2**53 + 1, math.nan, legacy)] == ["long", "decimal", "null", "id"]
    assert [kind(value) for value in (2**53 + 1, math.nan, legacy)] == ["long", "tag", "tag"]
