"""R12: what `name_escape` makes of field names, and that no two fields ever become one unseen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.contract import Losses, MappingError
from mappers.dynamodb.mapper import ItemMapper
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.policies import HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.redis.hash import HashMapper
from mappers.redis.string import StringMapper
from mappers.values.field_names import dynamodb_name, elasticsearch_name, spread, tagged_name

FORMS: dict[Any, Any] = {
    ItemMapper: ItemPolicies,
    StringMapper: JsonPolicies,
    HashMapper: HashPolicies,
    DocumentMapper: IndexPolicies,
}
NAMES = ("", ".", "a.b", "a..b", "$x", "$$", "a%2Eb", "%", "%00E", "_id", "_source", "plain", "é 😀", "\x01")


def mapped(form: Any, document: dict[str, Any], how: str) -> Any:
    (record,) = form(form.Options(values=FORMS[form](name_escape=how)), "r", Losses())(document)
    return record


def source(document: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    losses = Losses()
    mapper = DocumentMapper(DocumentMapper.Options(values=IndexPolicies(name_escape="paths")), "r", losses)
    (made,) = mapper({"_id": 1, **document})
    return orjson.loads(made.source), Counter(path for path, _ in losses.take())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("below", [False, True])
def test_reject_takes_exactly_the_names_that_need_no_escape(form: Any, name: str, below: bool) -> None:
    document = {"_id": 1, "o": [{name: 1}]} if below else {"_id": 1, name: 1}
    escaped = {
        ItemMapper: dynamodb_name(name),
        StringMapper: tagged_name(name),
        HashMapper: tagged_name(name) if below else name,  # A field of a hash may have any name.
        DocumentMapper: elasticsearch_name(name, not below) if below or name != "_id" else name,
    }[form]
    if escaped == name:
        assert mapped(form, document, "reject").canonical() == mapped(form, document, "percent").canonical()
        return
    with pytest.raises(MappingError) as told:
        mapped(form, document, "reject")
    assert told.value.code == "E-MAP-NAME"
    mapped(form, document, "percent")


def test_what_is_nested_too_deep_for_dynamodb_has_its_names_judged_too() -> None:
    deep: Any = {"$x": 1}
    for _ in range(40):
        deep = {"a": deep}
    policies = ItemPolicies(name_escape="reject", depth_overflow="json_string")
    with pytest.raises(MappingError, match="escaped"):
        ItemMapper(ItemMapper.Options(values=policies), "r", Losses())({"_id": 1, "d": deep})


def test_a_dotted_name_becomes_a_path_and_is_counted() -> None:
    made, lost = source({"a.b": 1, "a": {"c.d": [{"x.y": None}]}, "$x": 2, "50%": 3})
    assert made == {"a": {"b": 1, "c": {"d": [{"x": {"y": None}}]}}, "$$x": 2, "50%25": 3}
    assert lost == {"a.b": 1, "a.c.d": 1, "a.c.d.x.y": 1}
    assert source({"a": {"b": 1}}) == ({"a": {"b": 1}}, {})


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "E-NAME-COLLISION"),
        ({"a": {"b": 2}, "a.b": 1}, "E-NAME-COLLISION"),
        ({"a.b": {"c": 1}, "a": {"b.c": 1}}, "E-NAME-COLLISION"),
        ({"a": 1, "a.b": 1}, "E-NAME-COLLISION"),
        ({"a.b": 1, "a": 1}, "E-NAME-COLLISION"),
        ({"a": [{"b": 1}], "a.c": 1}, "E-NAME-COLLISION"),
        *(({name: 1}, "E-ES-NAME") for name in (".", "a.", ".a", "a..b")),
    ],
)
def test_two_fields_at_one_path_and_dots_that_make_none_are_rejected(document: dict[str, Any], code: str) -> None:
    with pytest.raises(MappingError) as told:
        source(document)
    assert told.value.code == code
    mapper = DocumentMapper(DocumentMapper.Options(values=IndexPolicies(name_escape="paths")), "r", Losses())
    with pytest.raises(MappingError):  # The census leaves out what will be a reject.
        mapper.seen(document)
    for how in ("percent", "reject"):
        seen = DocumentMapper(DocumentMapper.Options(values=IndexPolicies(name_escape=how)), "r", Losses())
        assert seen.seen({"_id": 1, **document}) == document


LEAVES = st.integers()
OBJECTS = st.recursive(
    st.dictionaries(st.text(alphabet="ab.", min_size=1, max_size=4), LEAVES, max_size=4),
    lambda inner: st.dictionaries(st.text(alphabet="ab.", min_size=1, max_size=4), inner | LEAVES, max_size=4),
    max_leaves=12,
)


def leaves(value: Any, at: str = "") -> list[tuple[str, int]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, f"{at}.{name}")]
    return [(at, value)]


@given(OBJECTS)
def test_every_value_stands_at_the_path_its_names_spell_or_the_document_is_rejected(document: dict[str, Any]) -> None:
    before = repr(document)
    try:
        made = spread(document, lambda _: None)
    except MappingError:
        made = None
    assert repr(document) == before
    if made is not None:
        assert sorted(leaves(made)) == sorted(leaves(document))
        assert "." not in "".join(names(made))


def names(value: Any) -> list[str]:
    return [*value, *(name for inner in value.values() for name in names(inner))] if isinstance(value, dict) else []
