"""Random valid routes: target and mapper, filter, fields and transforms, keys and ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chaos import reference
from chaos.documents import Document, Shape
from chaos.forms import RouteCase

Step = Callable[[Document], Iterable[Document]]

_FILTERS: Sequence[tuple[Mapping[str, Any], Callable[[Document], bool]]] = (
    ({"n": {"$gte": 100}}, lambda document: document["n"] >= 100),
    ({"group": {"$in": ["g0", "g2"]}}, lambda document: document["group"] in ("g0", "g2")),
    ({"until": {"$exists": True}}, lambda document: "until" in document),
)
_KEPT = ("v", "n", "score", "group", "tags", "until", "place")


def _all(_document: Document) -> bool:
    return True


def _same(document: Document) -> Iterable[Document]:
    return [document]


def _renamed(document: Document) -> Iterable[Document]:
    return [{"label" if name == "name" else name: value for name, value in document.items()}]


def _kept(document: Document) -> Iterable[Document]:
    return [{name: value for name, value in document.items() if name in ("_id", *_KEPT)}]


def _plain_kept(document: Document) -> Iterable[Document]:
    return [{name: value for name, value in document.items() if name in ("_id", "v", "group", "name")}]


def _dropped(document: Document) -> Iterable[Document]:
    return [{name: value for name, value in document.items() if name not in ("at", "name")}]


def _exploded(document: Document) -> Iterable[Document]:
    return [
        document | {"_id": {"parent": document["_id"], "position": position}, "tags": element}
        for position, element in enumerate(document["tags"] or ())
    ]


def _labelled(document: Document) -> Iterable[Document]:
    return [{**document, "label": f"{document['group']}, {document['v']}"}]


_STEPS: Sequence[tuple[Mapping[str, Any], Step]] = (
    ({"transforms": [{"rename": {"name": "label"}}]}, _renamed),
    ({"transforms": [{"default": {"country": "CH"}}]}, lambda document: [{**document, "country": "CH"}]),
    ({"transforms": [{"redact": {"name": "withheld"}}]}, lambda document: [document | {"name": "withheld"}]),
    ({"transforms": [{"template": {"fields": {"label": "{group}, {v}"}}}]}, _labelled),
    (
        {"transforms": [{"cast": {"fields": {"v": "string"}}}]},
        lambda document: [document | {"v": str(document["v"])}],
    ),
    ({"fields": {"keep": list(_KEPT)}}, _kept),
    ({"fields": {"drop": ["at", "name"]}}, _dropped),
)
_EXPLODE: Mapping[str, Any] = {"transforms": [{"explode": {"field": "tags", "empty": "drop"}}]}

FORMS_OF: Mapping[str, Sequence[str]] = {
    "redis": ("string", "string", "hash", "hash", "set", "list", "counter", "sorted_set", "geo", "member", "stream"),
    "dynamodb": ("item",),
    "elasticsearch": ("document",),
}
_WHOLE = ("string", "hash", "item", "document")
_SHARED = ("sorted_set", "geo", "member", "stream")
_MAPPERS: Mapping[str, Mapping[str, Any]] = {
    "set": {"mapper": "set", "values": "tags"},
    "list": {"mapper": "list", "values": "tags"},
    "counter": {"mapper": "counter", "value": "n"},
    "sorted_set": {"mapper": "sorted_set", "score": "score"},
    "geo": {"mapper": "geo", "location": "place"},
    "member": {"mapper": "set", "member": "_id"},
    "stream": {"mapper": "stream", "entry": "_id"},
}
_ACCEPTED = ["set_duplicate", "score_rounded", "neg_zero", "geo_rounded", "cast_respelled"]


def new_route(
    chance: random.Random, name: str, collection: str, target: str, shape: Shape, prefix: str, *, many: bool
) -> RouteCase:
    """Return a random valid route of the collection to the target; `many`: it has more than a few documents."""
    form = chance.choice(FORMS_OF[target])
    if form == "stream" and shape.id_kind not in ("int", "objectId"):
        form = "string"
    place = f"{prefix}{name}"
    keys: dict[str, Any] = {"collection": collection, "target": target, **_MAPPERS.get(form, {"mapper": form})}
    keys |= {"allow_empty": True, "accept_loss": _ACCEPTED}
    where, matches = chance.choice(_FILTERS) if chance.random() < 0.3 else ({}, _all)
    steps, change = chance.choice(_STEPS) if chance.random() < 0.4 else ({}, _same)
    by_group = form in ("item", *_SHARED) and chance.random() < 0.3
    if form in _WHOLE and not by_group and chance.random() < 0.15:
        steps, change = _EXPLODE, _exploded
    if chance.random() < 0.5 or (form == "stream" and not by_group):
        keys["partitions"] = 1 if form == "stream" else chance.randrange(1, 5)
    census = target == "elasticsearch" and many and not where and chance.random() < 0.3
    if census:  # The index is strict: of what is read, every document must have every field, always of one kind.
        steps, change = {"fields": {"keep": ["v", "group", "name"]}}, _plain_kept
    lossless = form in _WHOLE and not steps and chance.random() < 0.2
    if lossless:
        keys["fidelity"] = "lossless"
    plain = form in (*_WHOLE, "sorted_set") and shape.id_kind != "mixed" and change is not _exploded
    plain = plain and chance.random() < 0.3
    if plain:
        keys["id_encoding"] = "plain"
    expires = form in ("string", "hash", "set", "list", "counter", "item") and chance.random() < 0.4
    if expires:
        keys["expires"] = "until"
    if where:
        keys["where"] = where
    needs_images = by_group or change is _exploded
    if not needs_images and chance.random() < 0.12:
        keys["sync"] = "rescan"
    return RouteCase(
        name,
        collection,
        target,
        form,
        place,
        {**keys, **steps, **_placed(target, form, place, by_group=by_group, census=census)},
        matches,
        change,
        reference.plain_id if plain else reference.typed_id,
        expires,
        by_group,
        needs_images,
        lossless,
    )


def _placed(target: str, form: str, place: str, *, by_group: bool, census: bool) -> Mapping[str, Any]:
    """Return the keys that say where the records go."""
    if target == "dynamodb":
        key = {"key": {"partition": "G#{group}", "sort": "S#{_id}"}} if by_group else {}
        return {"table": place, **key}
    if target == "elasticsearch":
        return {"index": place, "census": "full" if census else "none"}
    if form in _SHARED:
        return {"key": f"{place}:{{group}}" if by_group else place}
    return {"key": f"{place}:{{_id}}"}
