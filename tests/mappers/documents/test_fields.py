"""Fields by path: lookup, keep and drop, expiry (R56) and key templates (R31, R61)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bson import Binary, DBRef, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.contract import MappingError
from mappers.documents.fields import MISSING, dropping, keeping, lookup
from mappers.expiry import Expiry
from mappers.values.key_templates import Template, key_text

DOCUMENT: dict[str, Any] = {
    "z": None,
    "_id": {"region": "eu", "n": 1},
    "a": {"b": {"c": 1, "d": 2}, "e": 3},
    "list": [{"x": 1, "y": 2}, 5, {"y": 3}, [{"x": 6, "y": 7}]],
    "scalar": 4,
    "a.b": "dotted",
    "ref": DBRef("c", 1, secret="s", open="o"),
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("z", None), ("a.b.c", 1), ("a.b", {"c": 1, "d": 2}), ("_id.region", "eu")),
        *(
            ("missing", MISSING),
            ("a.missing", MISSING),
            ("scalar.x", MISSING),
            ("list.x", MISSING),
            ("list.0", MISSING),
        ),
    ],
)
def test_a_path_leads_through_objects_and_null_is_a_value(path: str, value: Any) -> None:
    assert lookup(DOCUMENT, path) == value if value is not None else lookup(DOCUMENT, path) is None


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ([], {}),
        (["z"], {"z": None}),
        (["a.b.c"], {"a": {"b": {"c": 1}}}),
        (["a.b.c", "a.e"], {"a": {"b": {"c": 1}, "e": 3}}),
        (["a", "a.b"], {"a": DOCUMENT["a"]}),
        (["a.b", "a"], {"a": DOCUMENT["a"]}),
        (["a.b", "a.b.c"], {"a": {"b": {"c": 1, "d": 2}}}),
        (["list.x"], {"list": [{"x": 1}, {}, [{"x": 6}]]}),
        (["scalar.x"], {}),
        (["a.missing"], {"a": {}}),
        (["ref.open"], {"ref": {"open": "o"}}),
        (["_id.region"], {}),
        (["missing"], {}),
    ],
)
def test_only_the_named_fields_and_the_whole_id_are_kept(paths: list[str], kept: dict[str, Any]) -> None:
    result = keeping(DOCUMENT, paths)
    assert result == {"_id": DOCUMENT["_id"], **kept}
    assert list(result) == [name for name in DOCUMENT if name in result]


@pytest.mark.parametrize(
    ("paths", "changed"),
    [
        ([], {}),
        (["z"], {"z": MISSING}),
        (["a.b.c"], {"a": {"b": {"d": 2}, "e": 3}}),
        (["a", "a.b"], {"a": MISSING}),
        (["a.b", "a"], {"a": MISSING}),
        (["a.b.c", "a.b"], {"a": {"e": 3}}),
        (["list.y"], {"list": [{"x": 1}, 5, {}, [{"x": 6}]]}),
        (["scalar.x", "missing", "z.x"], {}),
        (["ref.secret"], {"ref": {"$ref": "c", "$id": 1, "open": "o"}}),
    ],
)
def test_the_named_fields_are_gone_and_all_others_stay(paths: list[str], changed: dict[str, Any]) -> None:
    expected = {name: value for name, value in (DOCUMENT | changed).items() if value is not MISSING}
    result = dropping(DOCUMENT, paths)
    assert result == expected
    assert list(result) == list(expected)


@pytest.mark.parametrize("path", ["_id", "_id.region"])
def test_no_part_of_an_id_can_be_dropped(path: str) -> None:
    with pytest.raises(ValueError, match="_id"):
        dropping(DOCUMENT, ["z", path])


PATHS = st.lists(st.sampled_from(("a", "a.b", "a.b.c", "a.e", "list", "list.x", "scalar", "z")), max_size=5)


@settings(deadline=None)
@given(PATHS)
def test_order_and_repetition_of_the_paths_do_not_matter(paths: list[str]) -> None:
    for select in (keeping, dropping):
        assert select(DOCUMENT, paths) == select(DOCUMENT, [*reversed(paths), *paths])


def test_selecting_leaves_the_document_as_it_was() -> None:
    before = repr(DOCUMENT)
    dropping(DOCUMENT, ["a.b.c", "list.x", "ref.secret"])
    keeping(DOCUMENT, ["a.b.c", "list.x", "ref.open"])
    assert repr(DOCUMENT) == before


EARLY = dt.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC)
LATE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "expires"),
    [
        *((LATE, 1577836800000), (EARLY, -1), (DatetimeMS(2**62), 2**62), ([LATE, EARLY], -1)),
        *(([LATE, "text", None, DatetimeMS(2**62)], 1577836800000), ([], None), (["text"], None)),
        *((None, None), (1577836800000, None), ("2020-01-01", None), (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 0)),
    ],
)
def test_a_document_expires_at_its_earliest_date_or_never(value: Any, expires: int | None) -> None:
    assert Expiry("at")({"at": value}) == expires
    assert Expiry("deep.at")({"deep": {"at": value}}) == expires
    assert Expiry("at")({"other": value}) is None


def test_a_template_puts_each_field_in_its_place() -> None:
    template = Template.parse("orders:{customer.id}:{_id}:end")
    assert (template.prefix, template.constant, template.paths) == ("orders:", False, ["customer.id", "_id"])
    assert template.fill({"_id": 7, "customer": {"id": "c"}}) == "orders:c:n:7:end"


def test_a_template_without_a_field_is_one_key_for_all() -> None:
    template = Template.parse("top sellers")
    assert (template.prefix, template.constant, template.paths) == ("top sellers", True, [])
    assert template.fill({}) == "top sellers"


@pytest.mark.parametrize(
    "text", ["{", "}", "a{b", "a}b", "{{a}", "{{a}}}", "{{}}", "{}", "{.}", "{a.}", "{a..b}", "a{}b", "}{"]
)
def test_a_template_with_a_stray_brace_or_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Template.parse(text)


def test_a_field_in_double_braces_is_a_hash_tag_that_no_value_can_end() -> None:
    template = Template.parse("cart:{{u.id}}:{_id}{{x}}")
    assert (template.prefix, template.constant, template.paths) == ("cart:{", False, ["u.id", "_id", "x"])
    assert template.fill({"_id": 1, "u": {"id": "}{"}, "x": "%"}) == "cart:{%7D%7B}:n:1{%25}"
    assert Template.parse("{{_id}}").fill({"_id": "a"}) == "{s:a}"


def test_braces_and_percent_signs_of_values_are_escaped_so_that_no_value_chooses_a_slot() -> None:
    template = Template.parse("s:{f}")
    filled = {text: template.fill({"f": text}) for text in ("{x}", "%7Bx%7D", "%257B", "{", "}", "%", "", "plain")}
    assert filled["{x}"] == "s:%7Bx%7D"
    assert len(set(filled.values())) == len(filled)
    assert all("{" not in key and "}" not in key for key in filled.values())
    assert Template.parse("s:{_id}").fill({"_id": {"a": "}"}}) == 's:j:%7B"a":"s:%7D"%7D'


@settings(deadline=None)
@given(st.text(alphabet="%{}7BD25a", max_size=8), st.text(alphabet="%{}7BD25a", max_size=8))
def test_two_values_never_fill_one_key(one: str, other: str) -> None:
    template = Template.parse("s:{f}")
    assert (template.fill({"f": one}) == template.fill({"f": other})) is (one == other)


@settings(deadline=None)
@given(st.data(), st.sampled_from([":", "::", ":x", "#", "é", ":%", "g"]), st.sampled_from(["", "s:"]))
def test_fields_never_run_into_each_other(data: st.DataObject, between: str, prefix: str) -> None:
    """All documents that, written without care, would fill one and the same key fill different ones."""
    tokens = st.sampled_from([between, between + prefix, "x", "%3A"])
    whole = "".join(data.draw(st.lists(tokens, min_size=3, max_size=12)))
    documents = [
        {"a": whole[:first], "_id": whole[first + len(between + prefix) : second], "b": whole[second + len(between) :]}
        for first in range(len(whole))
        for second in range(first + len(between + prefix), len(whole))
        if whole.startswith(between + prefix, first) and whole.startswith(between, second)
    ]
    # An empty plain id never comes this far.
    documents = [document for document in documents if prefix or document["_id"]]
    template = Template.parse(f"k:{{a}}{between}{{_id}}{between}{{b}}:end", "typed" if prefix else "plain")
    assert len({template.fill(document) for document in documents}) == len(documents)


def test_a_value_that_holds_the_separator_is_told_from_the_next_field() -> None:
    template = Template.parse("{a}:{b}")
    assert template.fill({"a": "x:y", "b": "z"}) == "x%3Ay:z"
    assert template.fill({"a": "x", "b": "y:z"}) == "x:y:z"
    assert Template.parse("{_id}:{b}").fill({"_id": "x:y", "b": "z"}) == "s:x%3Ay:z"
    assert Template.parse("{_id}:{b}", "plain").fill({"_id": "x:y", "b": "z"}) == "x%3Ay:z"


@pytest.mark.parametrize("text", ["{a}{b}", "{a}1{b}", "{a}%{b}", "x:{a}:{b}A:{c}", "{_id}{b}"])
def test_fields_without_a_character_that_ends_them_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"\{(a|b|_id)\} ends"):
        Template.parse(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((True, "true"), (False, "false"), (1, "1"), (Int64(2**62), str(2**62)), ("", ""), ("é", "é")),
        *((ObjectId("5f3b1c2d4e5f60718293a4b5"), "5f3b1c2d4e5f60718293a4b5"), (Decimal128("1.10"), "1.10")),
        *((EARLY, "-1"), (DatetimeMS(2**62), str(2**62))),
    ],
)
def test_a_scalar_stands_in_a_key_as_plain_text(value: Any, text: str) -> None:
    assert key_text({"f": value}, "f") == text


@pytest.mark.parametrize("value", [1.5, None, [1], {"secret": 1}, b"secret", Binary(b"s", 5), DBRef("secret", 1)])
def test_what_cannot_stand_in_a_key_is_refused_by_field_and_not_by_value(value: Any) -> None:
    with pytest.raises(MappingError) as caught:
        Template.parse("x:{f.g}").fill({"f": {"g": value}})
    assert (caught.value.code, caught.value.field) == ("E-MAP-KEY", "f.g")
    assert "secret" not in str(caught.value)


def test_a_missing_field_of_a_key_is_refused() -> None:
    documents: tuple[dict[str, Any], ...] = ({}, {"f": 1}, {"f": {}})
    for document in documents:
        with pytest.raises(MappingError) as caught:
            Template.parse("x:{f.g}").fill(document)
        assert (caught.value.code, caught.value.field) == ("E-MAP-KEY", "f.g")
        assert "missing" in caught.value.reason
