"""Transforms: what each makes of a document, what it refuses, and what holds for all (R29, R31)."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import bson
import pytest
import yaml
from bson import DBRef, Decimal128, Int64, ObjectId, json_util
from hypothesis import given
from hypothesis import strategies as st
from strategies import ids, names, scalars, values

from mappers.contract import Document, Losses, MappingError
from mappers.documents.decoding import CODEC
from mappers.identity import encode, identity
from mappers.transforms.steps import TRANSFORMS, compose
from mappers.transforms.transform import Transform
from mappers.transforms.validation import faults

PAGE = Path(__file__).parents[3] / "docs" / "transforms.md"
SALT = "0123456789abcdef"
AWARE = json_util.JSONOptions(tz_aware=True)


def transform(text: str) -> Transform:
    """Read one step as a plan has it: ``rename: {a: b}``."""
    ((name, keys),) = yaml.safe_load(text).items()
    made: Any = TRANSFORMS[name]
    step: Transform = made(keys) if made.bare else made(**keys)
    return step


def apply(steps: str | list[str], document: Document, losses: Losses | None = None) -> list[Document]:
    """Return what the steps make of a document; they have no faults, and leave the document as it was."""
    listed = [transform(step) for step in ([steps] if isinstance(steps, str) else steps)]
    assert faults(listed) == []
    before = copy.deepcopy(document)
    made = list(compose(listed, losses or Losses())(document))
    assert repr(document) == repr(before)
    return made


def one(steps: str | list[str], document: Document, losses: Losses | None = None) -> Document:
    (made,) = apply(steps, document, losses)
    return made


def refusal(steps: str | list[str], document: Document) -> tuple[str, str]:
    """Return the code and the field of the reject; the reason holds no value."""
    with pytest.raises(MappingError) as caught:
        apply(steps, document)
    assert "secret" not in str(caught.value)
    return caught.value.code, caught.value.field


# --- golden: the page's own examples ----------------------------------------------------------------------------------

EXAMPLES = re.findall(r"^\| `(\w+: .*?)` \| `(\{.*?\})` \| (`\{.*\}`) \|$", PAGE.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize(("step", "before", "after"), EXAMPLES, ids=[step.split(":")[0] for step, _, _ in EXAMPLES])
def test_each_example_of_the_page_is_what_happens(step: str, before: str, after: str) -> None:
    made = apply(step.replace("${HASH_SALT}", SALT), json_util.loads(before, json_options=AWARE))
    wanted = [json_util.loads(text, json_options=AWARE) for text in after.strip("`").split("` `")]
    assert made == wanted
    assert [list(document) for document in made] == [list(document) for document in wanted], "order"


def test_the_page_has_an_example_of_every_transform() -> None:
    assert [step.split(":")[0] for step, _, _ in EXAMPLES] == list(TRANSFORMS)


# --- rename and move --------------------------------------------------------------------------------------------------


def test_names_of_one_step_change_at_the_same_time() -> None:
    document = {"_id": 1, "a": 1, "b": 2, "c": {"a": 3}}
    assert list(one("rename: {a: b, b: a, c.a: z}", document).items()) == [
        ("_id", 1),
        ("b", 1),
        ("a", 2),
        ("c", {"z": 3}),
    ]


def test_a_rename_reaches_every_element_and_leaves_what_is_no_object() -> None:
    document = {"_id": 1, "list": [{"x": 1}, 5, [{"x": 2}], {"y": 3}], "r": DBRef("c", 1, x=4)}
    assert one("rename: {list.x: n, r.x: n}", document) == {
        "_id": 1,
        "list": [{"n": 1}, 5, [{"n": 2}], {"y": 3}],
        "r": {"$ref": "c", "$id": 1, "n": 4},
    }


@pytest.mark.parametrize("document", [{"_id": 1, "a": 1, "b": 2}, {"b": 2, "_id": 1, "a": 1}])
@pytest.mark.parametrize("step", ["rename: {a: b}", "move: {a: b}", 'template: {fields: {b: "{a}"}}'])
def test_nothing_is_overwritten(step: str, document: Document) -> None:
    assert refusal(step, document) == ("E-TRANSFORM-COLLISION", "b")


def test_a_moved_field_leaves_an_empty_object_and_makes_those_on_its_way() -> None:
    assert one("move: {a.b: x.y.z}", {"_id": 1, "a": {"b": None}}) == {"_id": 1, "a": {}, "x": {"y": {"z": None}}}
    assert one("move: {a: b, b: a}", {"_id": 1, "a": 1, "b": 2}) == {"_id": 1, "a": 2, "b": 1}
    assert one("move: {a.b: x}", {"_id": 1, "a": 5}) == {"_id": 1, "a": 5}
    assert one("move: {a.b: x}", {"_id": 1, "a": {"b": [{"c": 1}]}}) == {"_id": 1, "a": {}, "x": [{"c": 1}]}


def test_a_move_does_not_lead_through_arrays_nor_scalars() -> None:
    assert refusal("move: {a.b: x}", {"_id": 1, "a": [{"b": 1}]}) == ("E-TRANSFORM-ARRAY", "a.b")
    assert refusal("move: {b: a.x}", {"_id": 1, "a": [], "b": 1}) == ("E-TRANSFORM-ARRAY", "a.x")
    assert refusal("move: {b: a.x}", {"_id": 1, "a": 5, "b": 1}) == ("E-TRANSFORM-PATH", "a.x")
    assert refusal("move: {b: a.x}", {"_id": 1, "a": None, "b": 1}) == ("E-TRANSFORM-PATH", "a.x")


# --- cast, default, template ------------------------------------------------------------------------------------------


def test_a_cast_reaches_each_element_of_the_arrays_on_its_way_and_at_its_end() -> None:
    document = {"_id": 1, "items": [{"n": "1"}, {"n": ["2", ["3"]]}], "none": []}
    assert one("cast: {fields: {items.n: int, none.n: int}}", document) == {
        "_id": 1,
        "items": [{"n": 1}, {"n": [2, [3]]}],
        "none": [],
    }


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"a": {}}, "E-TRANSFORM-MISSING"),
        ({}, "E-TRANSFORM-MISSING"),
        ({"a": 5}, "E-TRANSFORM-MISSING"),
        ({"a": [{}]}, "E-TRANSFORM-MISSING"),
        ({"a": {"b": None}}, "E-TRANSFORM-MISSING"),
        ({"a": {"b": "secret"}}, "E-TRANSFORM-CAST"),
        ({"a": {"b": {"secret": 1}}}, "E-TRANSFORM-CAST"),
        ({"a": {"b": 1.7}}, "E-TRANSFORM-LOSSY"),
        ({"a": {"b": ["1", "1.7"]}}, "E-TRANSFORM-LOSSY"),
    ],
)
def test_what_cannot_be_cast_without_losing_is_a_reject(value: Document, code: str) -> None:
    assert refusal("cast: {fields: {a.b: int}}", {"_id": 1, **value}) == (code, "a.b")


def test_a_default_stands_in_and_is_counted_where_it_replaces_a_value() -> None:
    step = "cast: {fields: {a: int, b: date}, default: {a: 0, b: null}}"
    for value, lost in (({}, 0), ({"a": None, "b": None}, 2), ({"a": "x", "b": "x"}, 2), ({"a": 1.5}, 1)):
        losses = Losses()
        assert one(step, {"_id": 1, **value}, losses) == {"_id": 1, "a": 0, "b": None}
        assert [kind for _, kind in losses.take()] == ["cast_default"] * lost


def test_an_optional_field_stays_missing_or_null_and_a_lossy_cast_is_counted() -> None:
    step = "cast: {fields: {a: int, b: int, c: int, d.e: int}, optional: true, lossy: true}"
    losses = Losses()
    assert one(step, {"_id": 1, "b": None, "c": 1.7, "d": None}, losses) == {"_id": 1, "b": None, "c": 1, "d": None}
    assert losses.take() == [("c", "cast_rounded")]
    assert refusal(step, {"_id": 1, "c": "secret"}) == ("E-TRANSFORM-CAST", "c")


def test_a_default_fills_what_is_missing_only() -> None:
    step = "default: {a.b: [1], list.n: {$oid: 5f3b1c2d4e5f60718293a4b5}}"
    number = ObjectId("5f3b1c2d4e5f60718293a4b5")
    assert one(step, {"_id": 1}) == {"_id": 1, "a": {"b": [1]}, "list": {"n": number}}
    assert one(step, {"_id": 1, "a": {"b": None}, "list": [{}, {"n": 0}]}) == {
        "_id": 1,
        "a": {"b": None},
        "list": [{"n": number}, {"n": 0}],
    }
    assert refusal(step, {"_id": 1, "a": 5}) == ("E-TRANSFORM-PATH", "a.b")
    assert refusal(step, {"_id": 1, "a": None}) == ("E-TRANSFORM-PATH", "a.b")


def test_a_default_is_each_documents_own() -> None:
    composed = compose([transform("default: {a: [1]}")], Losses())
    (first,) = composed({"_id": 1})
    first["a"].append(2)
    (second,) = composed({"_id": 2})
    assert second == {"_id": 2, "a": [1]}


def test_a_template_needs_all_its_fields_unless_it_has_a_default() -> None:
    step = 'template: {fields: {"x.label": "{a.b}/{_id}"}}'
    assert one(step, {"_id": "k", "a": {"b": 1.5}}) == {"_id": "k", "a": {"b": 1.5}, "x": {"label": "1.5/s:k"}}
    assert refusal(step, {"_id": 1}) == ("E-TRANSFORM-MISSING", "a.b")
    assert refusal(step, {"_id": 1, "a": {"b": None}}) == ("E-TRANSFORM-TEMPLATE", "a.b")
    assert refusal(step, {"_id": 1, "a": {"b": ["secret"]}}) == ("E-TRANSFORM-TEMPLATE", "a.b")
    assert refusal(step, {"_id": 1, "a": [{"b": 1}]}) == ("E-TRANSFORM-ARRAY", "a.b")
    step = 'template: {fields: {label: "{a}"}, default: {label: "-"}}'
    assert one(step, {"_id": 1, "a": None}) == {"_id": 1, "a": None, "label": "-"}


# --- hash and redact --------------------------------------------------------------------------------------------------

HASH = f"hash: {{fields: [a.b], salt: {SALT}}}"


def test_a_hash_is_keyed_and_tells_values_apart_as_mongodb_does() -> None:
    def hashed(value: Any, salt: str = SALT) -> Any:
        return one(f"hash: {{fields: [a.b], salt: {salt}}}", {"_id": 1, "a": {"b": value}})["a"]["b"]

    apart = ["1", 1, True, "", ObjectId(b"x" * 12), str(ObjectId(b"x" * 12)), {"a": 1, "b": 2}, {"b": 2, "a": 1}, 1.5]
    assert len({hashed(value) for value in apart}) == len(apart)
    assert hashed(1) == hashed(1.0) == hashed(Int64(1)) == hashed(Decimal128("1.0"))
    assert hashed("1") != hashed("1", SALT + "x")
    assert re.fullmatch("[0-9a-f]{64}", hashed("1"))
    assert hashed(None) is None
    assert hashed(["1", [1], None]) == [hashed("1"), [hashed(1)], None]


@pytest.mark.parametrize("step", [HASH, "redact: {a.b: gone}"])
def test_personal_data_does_not_slip_by_in_an_array_nor_beside_its_path(step: str) -> None:
    made = one(step, {"_id": 1, "a": [{"b": "secret"}, {"c": 1}, [{"b": "secret"}]]})
    assert "secret" not in repr(made)
    assert one(step, {"_id": 1, "a": None}) == {"_id": 1, "a": None}
    assert one(step, {"_id": 1}) == {"_id": 1}
    assert refusal(step, {"_id": 1, "a": "secret"}) == ("E-TRANSFORM-PATH", "a.b")
    assert refusal(step, {"_id": 1, "a": [{"b": 1}, "secret"]}) == ("E-TRANSFORM-PATH", "a.b")
    assert refusal(step, {"_id": 1, "a.b": "secret"}) == ("E-TRANSFORM-PATH", "a.b")


def test_redacting_replaces_whatever_is_there_as_a_whole() -> None:
    step = "redact: {a: gone, b: null}"
    assert one(step, {"_id": 1, "a": ["x"], "b": {"x": 1}}) == {"_id": 1, "a": "gone", "b": None}
    assert one(step, {"_id": 1, "a": None}) == {"_id": 1, "a": "gone"}


def test_the_salt_is_not_in_what_a_transform_says_of_itself() -> None:
    assert SALT not in repr(transform(HASH))


# --- flatten, explode, embed ------------------------------------------------------------------------------------------


def test_flattening_keeps_order_arrays_and_empty_objects() -> None:
    document = {"_id": {"k": 1}, "a": {"b": {"c": 1}, "e": {}, "l": [{"x": 1}]}, "z": 2}
    assert list(one("flatten: {separator: '.'}", document).items()) == [
        ("_id", {"k": 1}),
        *(("a.b.c", 1), ("a.e", {}), ("a.l", [{"x": 1}]), ("z", 2)),
    ]
    assert one("flatten: {fields: [list.a]}", {"_id": 1, "list": [{"a": {"b": 1}}, {"a": [2]}, 3]}) == {
        "_id": 1,
        "list": [{"a_b": 1}, {"a": [2]}, 3],
    }


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"_id": 1, "a": {"b": 1}, "a_b": 2}, "a_b"),
        ({"a_b": 2, "_id": 1, "a": {"b": 1}}, "a_b"),
        ({"_id": 1, "a": {"b_c": 1, "b": {"c": 2}}}, "a_b_c"),
        ({"": {"id": 1}}, "_id"),
    ],
)
def test_flattened_names_that_meet_are_a_reject(document: Document, field: str) -> None:
    assert refusal("flatten: {}", document) == ("E-TRANSFORM-COLLISION", field)


def test_elements_are_named_by_a_field_of_theirs() -> None:
    document = {"_id": "o1", "x": {"items": [{"k": {"n": 1}}, {"k": {"n": 2}}]}, "z": 1}
    assert apply("explode: {field: x.items, id: k.n, position: at}", document) == [
        {"_id": {"parent": "o1", "element": n}, "x": {"items": {"k": {"n": n}}}, "z": 1, "at": n - 1} for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"k": 1}, {"k": 1.0}], "items.k"),
        ([{"k": 1}, {}], "items.k"),
        ([{"k": 1}, "secret"], "items.k"),
        ([{"k": ["secret"]}], "items.k"),
    ],
)
def test_elements_that_nothing_sets_apart_are_a_reject(items: list[Any], field: str) -> None:
    assert refusal("explode: {field: items, id: k}", {"_id": 1, "items": items}) == ("E-TRANSFORM-IDENTITY", field)


@pytest.mark.parametrize("rest", [{}, {"items": None}, {"items": []}])
def test_a_document_without_elements_is_a_reject_dropped_or_kept_as_said(rest: Document) -> None:
    document = {"_id": 1, **rest}
    assert refusal("explode: {field: items}", document) == ("E-TRANSFORM-MISSING", "items")
    assert apply("explode: {field: items, empty: drop}", document) == []
    assert apply("explode: {field: items, empty: keep, position: at}", document) == [
        {**document, "_id": {"parent": 1, "position": None}, "at": None}
    ]


def test_only_an_array_explodes() -> None:
    assert refusal("explode: {field: items, empty: drop}", {"_id": 1, "items": {}}) == ("E-TRANSFORM-ARRAY", "items")
    assert refusal("explode: {field: a.items}", {"_id": 1, "a": [{"items": [1]}]}) == ("E-TRANSFORM-ARRAY", "a.items")
    assert refusal("explode: {field: items, position: n}", {"_id": 1, "items": [1], "n": 1}) == (
        "E-TRANSFORM-COLLISION",
        "n",
    )
    assert refusal("explode: {field: items}", {"items": [1]}) == ("E-ID-MISSING", "_id")


def test_embedded_values_are_the_json_of_the_redis_string() -> None:
    document = {"_id": 1, "a": {"$x": ObjectId(b"x" * 12)}, "l": [{"b": [1, None]}, {"b": "t"}]}
    assert one("embed: [a, l.b]", document) == {
        "_id": 1,
        "a": '{"$$x":"' + b"x".hex() * 12 + '"}',
        "l": [{"b": "[1,null]"}, {"b": '"t"'}],
    }
    assert one("embed: [a.b]", {"_id": 1, "a": 5}) == {"_id": 1, "a": 5}


# --- what holds for all -----------------------------------------------------------------------------------------------

EVERY = [
    "select: [a, b.c, l]",
    "drop: [a, b.c]",
    "rename: {a: z, b.c: y}",
    "move: {a: q.z, b.c: r.y}",
    "cast: {fields: {a: string, l.x: int}, default: {a: '', l.x: 0}, lossy: true}",
    "default: {a: {deep: [1]}, b.n: 1}",
    'template: {fields: {t: "{a} {_id}"}, default: {t: ""}}',
    f"hash: {{fields: [a, b.c, l.x], salt: {SALT}}}",
    "redact: {a: {gone: []}, l.x: null}",
    "flatten: {}",
    "flatten: {fields: [b, l.x], separator: .}",
    "explode: {field: l, position: p, empty: keep}",
    "embed: [a, b, l.x]",
]
DOCUMENTS = st.builds(
    lambda number, rest: {"_id": number, **rest},
    ids(),
    st.fixed_dictionaries(
        {},
        optional={
            "a": values(2),
            "b": st.dictionaries(st.sampled_from(["c", "n", "x"]), values(1)) | scalars(),
            "l": st.lists(st.dictionaries(st.sampled_from(["x", "k"]), values(1), max_size=2) | scalars(), max_size=3),
        },
    ),
)


def stored(document: Document) -> bytes:
    return bson.encode(document, codec_options=CODEC)


@given(DOCUMENTS, st.lists(st.sampled_from(EVERY), max_size=4, unique=True))
def test_a_document_is_never_changed_and_what_is_made_of_it_can_be_stored(document: Document, steps: list[str]) -> None:
    before = stored(document)
    composed = compose([transform(step) for step in steps], Losses())
    try:
        made = list(composed(document))
    except MappingError:
        made = []
    assert stored(document) == before
    for each in made:
        stored(each)
    if made:
        assert [stored(each) for each in composed(document)] == [stored(each) for each in made], "not pure"
    texts = [identity(each) for each in made]
    assert len(set(texts)) == len(texts)


@given(DOCUMENTS)
def test_renaming_there_and_back_is_nothing(document: Document) -> None:
    there = one("rename: {a: z1, b.c: z2, l.x: z3}", document)
    assert stored(one("rename: {z1: a, b.z2: c, l.z3: x}", there)) == stored(document)


@given(DOCUMENTS)
def test_moving_there_and_back_keeps_every_value(document: Document) -> None:
    back = one("move: {q.z: a}", one("move: {a: q.z}", document))
    assert {name: repr(value) for name, value in back.items() if name != "q"} == {
        name: repr(value) for name, value in document.items()
    }


@given(ids(), st.lists(values(1), min_size=1, max_size=5), st.dictionaries(names(), scalars(), max_size=2))
def test_exploding_makes_a_document_of_each_element_and_loses_none(
    number: Any, elements: list[Any], rest: dict[str, Any]
) -> None:
    document = {**rest, "_id": number, "items": elements}
    made = apply("explode: {field: items}", document)
    assert [encode(each["_id"]["parent"]) for each in made] == [encode(number)] * len(elements)
    assert [each["_id"]["position"] for each in made] == list(range(len(elements)))
    assert repr([each["items"] for each in made]) == repr(elements)
    assert all(list(each) == list(document) for each in made)


@given(st.lists(ids(), min_size=2, max_size=2), st.integers(0, 2), st.integers(0, 2))
def test_exploded_and_hashed_ids_are_distinct_as_their_parents_are(
    numbers: list[Any], one_n: int, other_n: int
) -> None:
    steps = ["explode: {field: l, empty: keep}", f"hash: {{fields: [_id], salt: {SALT}}}"]
    for chosen in (steps[:1], steps[1:], steps):
        made = [
            identity(each)
            for number, count in zip(numbers, (one_n, other_n), strict=True)
            for each in apply(chosen, {"_id": number, "l": [0] * count})
        ]
        same = encode(numbers[0]) == encode(numbers[1])
        assert len(set(made)) == len(made) or same
