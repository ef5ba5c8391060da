"""What each mapper must make of a document, by docs/values.md."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import bson
from bson import Decimal128, ObjectId

from chaos import reference
from chaos.documents import Document, StoredDocument
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
    lossless: bool = False

    def expected(self, documents: Iterable[Document]) -> Expected:
        """Return the records that these documents, all of the collection, must become."""
        whole = Expected()
        for document in documents:
            if not self.matches(document):
                continue
            whole.documents += 1
            try:
                made = [record for changed in self.change(document) for record in FORMS[self.form](self, changed)]
            except RejectedError:
                whole.rejected += 1
                continue
            whole.dropped += not made
            whole.records.update(made)
        return whole

    def key(self, document: Document) -> str:
        """Return the Redis key of a document's own."""
        return f"{self.place}:{reference.redis_key_text(self.identify(document['_id']))}"

    def expiry(self, document: Document) -> int | None:
        """Return when the document's record expires."""
        return reference.milliseconds(document["until"]) if self.expires and "until" in document else None


Records = Sequence[tuple[str, Content]]


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


def _stored(document: Document) -> bytes:
    return document.raw if isinstance(document, StoredDocument) else bson.encode(document)


def _string(route: RouteCase, document: Document) -> Records:
    form = reference.json_form(document, top=True)
    if route.lossless:
        form["$raw"] = base64.b64encode(_stored(document)).decode()
    return [(route.key(document), ("string", comparable(form, ordered=True), route.expiry(document)))]


def _hash(route: RouteCase, document: Document) -> Records:
    fields = {name.encode(): reference.flat_text(value) for name, value in document.items()}
    if route.lossless:
        fields[b"_raw"] = _stored(document)
    return [(route.key(document), ("hash", fields, route.expiry(document)))]


def _elements(document: Document) -> Sequence[bytes]:
    if not isinstance(document.get("tags"), list):
        raise RejectedError
    return [reference.flat_text(element) for element in document["tags"]]


def _set(route: RouteCase, document: Document) -> Records:
    members = frozenset(_elements(document))
    return [(route.key(document), ("set", members, route.expiry(document)))] if members else []


def _list(route: RouteCase, document: Document) -> Records:
    elements = tuple(_elements(document))
    return [(route.key(document), ("list", elements, route.expiry(document)))] if elements else []


def _counter(route: RouteCase, document: Document) -> Records:
    if document.get("n") is None or document["n"] != int(document["n"]):
        raise RejectedError
    return [(route.key(document), ("string", b"%d" % int(document["n"]), route.expiry(document)))]


def _shared_key(route: RouteCase, document: Document) -> str:
    return f"{route.place}:{document['group']}" if route.by_group else route.place


def _sorted_set(route: RouteCase, document: Document) -> Records:
    score = document.get("score")
    if isinstance(score, Decimal128 | bool) or not isinstance(score, int | float):
        raise RejectedError
    address = f"{_shared_key(route, document)}\n{route.identify(document['_id'])}"
    return [(address, ("member", float(score), None))]


def _geo(route: RouteCase, document: Document) -> Records:
    place = document.get("place")
    if not isinstance(place, Mapping):
        raise RejectedError
    address = f"{_shared_key(route, document)}\n{route.identify(document['_id'])}"
    return [(address, ("member", float(_cell(*place["coordinates"])), None))]


def _cell(longitude: float, latitude: float) -> int:
    """Return the score that GEOADD gives a place: 26 bits of each coordinate, longitude in the odd ones."""
    return _spread(longitude, 180.0) << 1 | _spread(latitude, 85.05112878)


def _spread(degrees: float, limit: float) -> int:
    """Return 26 bits of a coordinate, at every second place."""
    whole = int((degrees + limit) / (2 * limit) * 2**26)
    return sum((whole >> bit & 1) << 2 * bit for bit in range(26))


def _member(route: RouteCase, document: Document) -> Records:
    return [(f"{_shared_key(route, document)}\n{route.identify(document['_id'])}", ("element", None, None))]


def _stream(route: RouteCase, document: Document) -> Records:
    identifier = document["_id"]
    if isinstance(identifier, ObjectId):
        front = int.from_bytes(identifier.binary[:4], "big") * 1000
        entry = f"{front}-{int.from_bytes(identifier.binary[4:], 'big')}"
    else:
        entry = f"{int(identifier)}-0"
    if entry == "0-0":
        raise RejectedError
    fields = tuple((name.encode(), reference.flat_text(value)) for name, value in document.items())
    return [(f"{_shared_key(route, document)}\n{entry}", ("entry", fields, None))]


def _item(route: RouteCase, document: Document) -> Records:
    typed = route.identify(document["_id"])
    item = reference.attributes(document)
    if any(reference.levels(value) > 31 for value in document.values()):
        raise RejectedError
    key = {"_id": {"S": reference.shortened(typed, 2048)}}
    if route.by_group:
        escaped = typed.replace("%", "%25")
        key = {"pk": {"S": f"G#{document['group']}"}, "sk": {"S": f"S#{escaped}"}}
        if len(key["sk"]["S"].encode()) > 1024:
            key["sk"]["S"] = f"S#{reference.digest(typed)}"
        item["_id"] = {"S": typed}
    elif key["_id"]["S"] != typed:
        item["_id_full"] = {"S": typed}
    if route.lossless:
        item["_raw"] = {"B": _stored(document)}
    if (expires := route.expiry(document)) is not None:
        item["_ttl"] = {"N": Decimal(expires // 1000)}
        expires = expires // 1000 * 1000
    return [("\n".join(value["S"] for value in key.values()), ("item", item | key, expires))]


def _document(route: RouteCase, document: Document) -> Records:
    full = route.identify(document["_id"])
    fields = {name: value for name, value in document.items() if name != "_id"}
    source = reference.json_form(fields, elastic=True, top=True)
    identifier = reference.shortened(full, 512)
    if identifier != full:
        source["offramp_id"] = full
    if route.lossless:
        source["offramp_raw"] = base64.b64encode(_stored(document)).decode()
    return [(identifier, ("document", comparable(source, ordered=False), None))]


FORMS: Mapping[str, Callable[[RouteCase, Document], Records]] = {
    "string": _string,
    "hash": _hash,
    "set": _set,
    "list": _list,
    "counter": _counter,
    "sorted_set": _sorted_set,
    "geo": _geo,
    "member": _member,
    "stream": _stream,
    "item": _item,
    "document": _document,
}
