"""A field that a plan names and no document has is told by its key, with the name most like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan

from flows.plan.load import load
from flows.plan.unknown_fields import field_paths, find_unknown_fields

NOWHERE = Stores("mongodb://127.0.0.1:1", "redis://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1")
DOCUMENTS: list[dict[str, Any]] = [
    {"_id": 1, "expires_at": None, "rating": 4, "tags": ["a"], "place": [1, 2], "a.b": 1},
    {"_id": 2, "address": {"city": "Bern"}, "lines": [{"sku": "x"}, {"count": 1}], "customer": "c"},
]


def said(tmp_path: Path, documents: list[dict[str, Any]] = DOCUMENTS, **route: Any) -> list[str]:
    plan = load(write_plan(tmp_path, NOWHERE, "shop", {"things": route}))
    return find_unknown_fields(plan.routes["things"], documents)


@pytest.mark.parametrize(
    ("route", "key", "field", "near"),
    [
        ({"use_case": "session", "expires": "expire_at"}, "expires", "expire_at", "expires_at"),
        ({"use_case": "session", "key": "s:{custmer}:{_id}"}, "key", "custmer", "customer"),
        ({"use_case": "session", "format": "raw", "value": "ratings"}, "value", "ratings", "rating"),
        ({"use_case": "session", "fields": {"drop": ["adress.city"]}}, "fields.drop", "adress.city", "address.city"),
        ({"use_case": "session", "fields": {"keep": ["line.sku"]}}, "fields.keep", "line.sku", "lines.sku"),
        ({"use_case": "leaderboard", "score": "ratng"}, "score", "ratng", "rating"),
        ({"use_case": "leaderboard", "score": "rating", "member": "name"}, "member", "name", None),
        ({"use_case": "geo", "location": "plase"}, "location", "plase", "place"),
        ({"use_case": "feed", "entry": "created"}, "entry", "created", None),
        ({"use_case": "set", "values": "tag"}, "values", "tag", "tags"),
        ({"use_case": "queue", "values": "tagz"}, "values", "tagz", "tags"),
        ({"use_case": "counter", "value": "zzzz"}, "value", "zzzz", None),
        ({"use_case": "entity", "key": {"partition": "customr", "sort": "{_id}"}}, "key", "customr", "customer"),
        ({"use_case": "entity", "sets": ["tagss"]}, "sets", "tagss", "tags"),
        (
            {"use_case": "entity", "indexes": {"by_city": {"partition": "adress.city"}}},
            *("indexes", "adress.city", "address.city"),
        ),
        ({"use_case": "search", "mapping": {"adress.city": "keyword"}}, "mapping", "adress.city", "address.city"),
        ({"use_case": "search", "nested": ["line"]}, "nested", "line", "lines"),
        ({"use_case": "search", "routing": "custome"}, "routing", "custome", "customer"),
        (
            {"use_case": "session", "transforms": [{"rename": {"custom": "client"}}]},
            *("transforms.rename", "custom", "customer"),
        ),
        ({"use_case": "session", "sync": "watermark", "watermark": "at"}, "watermark", "at", None),
    ],
)
def test_a_field_that_no_document_has_is_told(
    route: dict[str, Any], key: str, field: str, near: str | None, tmp_path: Path
) -> None:
    meant = f"; did you mean {near!r}?" if near else ""
    assert said(tmp_path, **route) == [f"{key}: none of the 2 documents looked at has the field {field!r}{meant}"]


@pytest.mark.parametrize(
    "route",
    [
        {
            "use_case": "session",
            "expires": "expires_at",
            "key": "s:{address.city}:{_id}",
            "fields": {"drop": ["lines"]},
        },
        {
            "use_case": "search",
            "mapping": {"lines.sku": "keyword", "a%2Eb": "long"},
            "nested": ["lines"],
            "geo": ["place"],
        },
        {"use_case": "entity", "key": {"partition": "client"}, "transforms": [{"rename": {"customer": "client"}}]},
        {"use_case": "leaderboard", "score": "place.0"},
    ],
)
def test_fields_that_documents_have_are_not(route: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, **route) == []


def test_an_empty_collection_contradicts_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, [], use_case="leaderboard", score="nothing") == []


def test_paths_lead_through_objects_and_arrays_of_them() -> None:
    found = {".".join(path) for path in field_paths(DOCUMENTS)}
    assert {"_id", "tags", "address.city", "lines.sku", "lines.count"} <= found
