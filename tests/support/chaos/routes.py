"""Random routes, each with the keys of its plan and its own account of the records that documents must become."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from chaos import reference
from chaos.documents import Document, Shape
from chaos.reference import RejectedError

Content = tuple[Any, ...]
"""A record in a form that can be compared: its kind, what it holds, and when it expires in milliseconds, or None."""


@dataclass
class Expected:
    """The records that a collection must have become."""

    records: dict[str, Content] = field(default_factory=dict)
    rejected: int = 0
    dropped: int = 0
    documents: int = 0


@dataclass(frozen=True)
class RouteCase:
    """A route of a random plan."""

    name: str
    collection: str
    target: str
    form: str
    place: str
    """The table, the index, or what the keys begin with."""
    keys: Mapping[str, Any]
    """The route's keys in the plan."""
    matches: Callable[[Document], bool]
    change: Callable[[Document], Iterable[Document]]
    """What fields and transforms make of a document; raises RejectedError."""
    identify: Callable[[Any], str]
    expires: bool
    by_group: bool
    """Whether the field `group` is part of the address."""
    needs_images: bool
    """Whether a sync needs the earlier forms of documents."""

    def expected(self, documents: Iterable[Document]) -> Expected:
        """Return the records that these documents, all of the collection, must become."""
        whole = Expected()
        for document in documents:
            if not self.matches(document):
                continue
            whole.documents += 1
            try:
                made = [record for changed in self.change(document) for record in self._records(changed)]
            except RejectedError:
                whole.rejected += 1
                continue
            whole.dropped += not made
            whole.records.update(made)
        return whole

    def _records(self, document: Document) -> Sequence[tuple[str, Content]]:
        return _FORMS[self.form](self, document)

    def key(self, document: Document) -> str:
        """Return the Redis key of a document's own."""
        return f"{self.place}:{reference.redis_key_text(self.identify(document['_id']), typed=True)}"

    def expiry(self, document: Document) -> int | None:
        """Return when the document's record expires."""
        return reference.milliseconds(document["until"]) if self.expires and "until" in document else None


# --- what each form holds ---------------------------------------------------------------------------------------------


def comparable(form: Any, *, ordered: bool) -> Any:
    """Return JSON in which 1 and 1.0, 0.0 and -0.0, true and 1 differ; with `ordered` the order of names counts."""
    match form:
        case dict():
            pairs = [(name, comparable(inner, ordered=ordered)) for name, inner in form.items()]
            return ("object", *(pairs if ordered else sorted(pairs, key=lambda pair: pair[0])))
        case list():
            return ("array", *(comparable(inner, ordered=ordered) for inner in form))
        case _:
            return (type(form).__name__, repr(form))


def _string(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    held = comparable(reference.json_form(document, top=True), ordered=True)
    return [(route.key(document), ("string", held, route.expiry(document)))]


def _hash(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    fields = {name.encode(): reference.flat_text(value) for name, value in document.items()}
    return [(route.key(document), ("hash", fields, route.expiry(document)))]


def _elements(document: Document) -> Sequence[bytes]:
    if not isinstance(document.get("tags"), list):
        raise RejectedError
    return [reference.flat_text(element) for element in document["tags"]]


def _set(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    members = frozenset(_elements(document))
    return [(route.key(document), ("set", members, route.expiry(document)))] if members else []


def _list(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    elements = tuple(_elements(document))
    return [(route.key(document), ("list", elements, route.expiry(document)))] if elements else []


def _counter(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    if document.get("n") is None or document["n"] != int(document["n"]):
        raise RejectedError
    return [(route.key(document), ("string", b"%d" % int(document["n"]), route.expiry(document)))]


def _sorted_set(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    score = document.get("score")
    if isinstance(score, Decimal128 | bool) or not isinstance(score, int | float):
        raise RejectedError
    key = f"{route.place}:{document['group']}" if route.by_group else route.place
    return [(f"{key}\n{route.identify(document['_id'])}", ("member", float(score), None))]


def _stream(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    identifier = document["_id"]
    if isinstance(identifier, ObjectId):
        front = int.from_bytes(identifier.binary[:4], "big") * 1000
        entry = f"{front}-{int.from_bytes(identifier.binary[4:], 'big')}"
    else:
        entry = f"{int(identifier)}-0"
    if entry == "0-0":
        raise RejectedError
    fields = tuple((name.encode(), reference.flat_text(value)) for name, value in document.items())
    return [(f"{route.place}\n{entry}", ("entry", fields, None))]


def _item(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    typed = route.identify(document["_id"])
    item = reference.attributes(document)
    if any(reference.levels(value) > 31 for value in document.values()):
        raise RejectedError
    key = {"_id": {"S": reference.shortened(typed, 2048)}}
    if route.by_group:
        escaped = typed.replace("%", "%25")
        key = {"pk": {"S": f"G#{document['group']}"}, "sk": {"S": f"S#{escaped}"}}
        if len(key["sk"]["S"].encode()) > 1024:
            key["sk"]["S"] = f"S#{reference.shortened(typed, 0)}"
        item["_id"] = {"S": typed}
    elif key["_id"]["S"] != typed:
        item["_id_full"] = {"S": typed}
    if (expires := route.expiry(document)) is not None:
        item["_ttl"] = {"N": Decimal(expires // 1000)}
        expires = expires // 1000 * 1000
    return [("\n".join(value["S"] for value in key.values()), ("item", item | key, expires))]


def _document(route: RouteCase, document: Document) -> Sequence[tuple[str, Content]]:
    full = route.identify(document["_id"])
    source = reference.json_form(
        {name: value for name, value in document.items() if name != "_id"}, elastic=True, top=True
    )
    identifier = reference.shortened(full, 512)
    if identifier != full:
        source["offramp_id"] = full
    return [(identifier, ("document", comparable(source, ordered=False), None))]


_FORMS: Mapping[str, Callable[[RouteCase, Document], Sequence[tuple[str, Content]]]] = {
    "string": _string,
    "hash": _hash,
    "set": _set,
    "list": _list,
    "counter": _counter,
    "sorted_set": _sorted_set,
    "stream": _stream,
    "item": _item,
    "document": _document,
}


# --- filters and transforms -------------------------------------------------------------------------------------------

_FILTERS: Sequence[tuple[Mapping[str, Any], Callable[[Document], bool]]] = (
    ({"n": {"$gte": 100}}, lambda document: document["n"] >= 100),
    ({"group": {"$in": ["g0", "g2"]}}, lambda document: document["group"] in ("g0", "g2")),
    ({"until": {"$exists": True}}, lambda document: "until" in document),
)


def _renamed(document: Document) -> Iterable[Document]:
    return [{"label" if name == "name" else name: value for name, value in document.items()}]


def _selected(document: Document) -> Iterable[Document]:
    kept = ("_id", "v", "n", "score", "group", "tags", "until")
    return [{name: value for name, value in document.items() if name in kept}]


def _exploded(document: Document) -> Iterable[Document]:
    return [
        document | {"_id": {"parent": document["_id"], "position": position}, "tags": element}
        for position, element in enumerate(document["tags"] or ())
    ]


_STEPS: Sequence[tuple[Mapping[str, Any], Callable[[Document], Iterable[Document]]]] = (
    ({"transforms": [{"rename": {"name": "label"}}]}, _renamed),
    ({"transforms": [{"default": {"country": "CH"}}]}, lambda document: [{**document, "country": "CH"}]),
    ({"transforms": [{"redact": {"name": "withheld"}}]}, lambda document: [document | {"name": "withheld"}]),
    ({"fields": {"keep": ["v", "n", "score", "group", "tags", "until"]}}, _selected),
    (
        {"fields": {"drop": ["at", "name"]}},
        lambda document: [{name: value for name, value in document.items() if name not in ("at", "name")}],
    ),
)
_EXPLODE = {"transforms": [{"explode": {"field": "tags", "empty": "drop"}}]}


# --- drawing a route --------------------------------------------------------------------------------------------------

FORMS: Mapping[str, Sequence[str]] = {
    "redis": ("string", "hash", "set", "list", "counter", "sorted_set", "stream"),
    "dynamodb": ("item",),
    "elasticsearch": ("document",),
}
_MAPPER_KEYS: Mapping[str, Mapping[str, Any]] = {
    "set": {"values": "tags"},
    "list": {"values": "tags"},
    "counter": {"value": "n"},
    "sorted_set": {"score": "score"},
    "stream": {"entry": "_id"},
}


def new_route(chance: random.Random, name: str, collection: str, target: str, shape: Shape, prefix: str) -> RouteCase:
    """Return a random valid route of the collection to the target."""
    form = chance.choice(FORMS[target])
    if form == "stream" and shape.id_kind not in ("int", "objectId"):
        form = "string"
    place = f"{prefix}{name}"
    keys: dict[str, Any] = {"collection": collection, "target": target, "mapper": form, **_MAPPER_KEYS.get(form, {})}
    keys["allow_empty"] = True
    keys["accept_loss"] = ["set_duplicate", "score_rounded", "neg_zero"]
    if chance.random() < 0.5:
        keys["partitions"] = 1 if form == "stream" else chance.randrange(1, 5)
    where, matches = chance.choice(_FILTERS) if chance.random() < 0.3 else ({}, lambda document: True)
    steps, change = chance.choice(_STEPS) if chance.random() < 0.4 else ({}, lambda document: [document])
    by_group = form in ("item", "sorted_set") and chance.random() < 0.3
    if form in ("string", "hash", "item", "document") and not by_group and chance.random() < 0.15:
        steps, change = _EXPLODE, _exploded
    plain = (
        form in ("string", "hash", "item", "document", "sorted_set")
        and shape.id_kind != "mixed"
        and change is not _exploded
        and chance.random() < 0.3
    )
    if plain:
        keys["id_encoding"] = "plain"
    expires = form in ("string", "hash", "set", "list", "counter", "item") and chance.random() < 0.4
    if expires:
        keys["expires"] = "until"
    if where:
        keys["where"] = where
    keys |= steps
    keys |= _placed(target, form, place, by_group)
    identify = reference.plain_id if plain else reference.typed_id
    return RouteCase(
        name,
        collection,
        target,
        form,
        place,
        keys,
        matches,
        change,
        identify,
        expires,
        by_group,
        needs_images=by_group or change is _exploded,
    )


def _placed(target: str, form: str, place: str, by_group: bool) -> Mapping[str, Any]:
    """Return the keys that say where the records go."""
    if target == "dynamodb":
        key = {"key": {"partition": "G#{group}", "sort": "S#{_id}"}} if by_group else {}
        return {"table": place, **key}
    if target == "elasticsearch":
        return {"index": place, "census": "none"}
    if form in ("sorted_set", "stream"):
        return {"key": f"{place}:{{group}}" if by_group else place}
    return {"key": f"{place}:{{_id}}"}
