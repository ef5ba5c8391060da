"""The content of a record as nested values, so that two of them can be compared by path; whatever store it is for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mappers.compare.differences import Elements, Leaf, Names, Tree
from mappers.contract import Record
from mappers.dynamodb.records import Item
from mappers.elasticsearch.records import IndexDocument
from mappers.redis.json_document import Json
from mappers.redis.records import Entry, Hash, List, Member, Set, String

EXPIRY = "(expires)"
"""Stands as a name for when a record expires."""
VALUE = "(value)"
"""Stands as a name for a content without names."""
SCORE = "(score)"
MEMBERS = "(members)"


def tree(record: Record) -> Tree:
    """Return the record's content; of a kind that is not known here its canonical bytes as one value."""
    match record:
        case Item(body=body):
            return Names({name: _attribute(value) for name, value in json.loads(bytes(body)).items()})
        case IndexDocument(source=source):
            return _json(json.loads(bytes(source)))
        case String(value=value):
            return _expiring(record, _text(value, ordered=True), ordered=True)
        case Json(value=value):
            return _expiring(record, _text(value))
        case Hash(fields=fields):
            return _expiring(record, Names({_readable(name): _text(value) for name, value in fields}))
        case Member(score=score):
            return Names({SCORE: Leaf("number", score)})
        case Set(members=members):
            return _expiring(record, Names({MEMBERS: Leaf("set", tuple(sorted(members)))}))
        case List(elements=elements):
            return _expiring(record, Elements([_text(element) for element in elements]))
        case Entry(fields=fields):
            return Names({_readable(name): _text(value) for name, value in fields}, ordered=True)
    return Leaf(type(record).__name__, record.canonical())


def _expiring(record: Record, content: Tree, *, ordered: bool = False) -> Tree:
    values = dict(content.values) if isinstance(content, Names) else {VALUE: content}
    if record.expires_at_ms is not None:
        values = {EXPIRY: Leaf("milliseconds", record.expires_at_ms), **values}
    return Names(values, ordered)


def _attribute(typed: Mapping[str, Any]) -> Tree:
    ((kind, value),) = typed.items()
    match kind:
        case "M":
            return Names({name: _attribute(inner) for name, inner in value.items()})
        case "L":
            return Elements([_attribute(inner) for inner in value])
        case "N":
            return Leaf(kind, Decimal(value))
        case "SS" | "NS" | "BS":
            return Leaf(kind, tuple(sorted(value)))
        case _:
            return Leaf(kind, value)


def _text(value: bytes, *, ordered: bool = False) -> Tree:
    """Return JSON's values where the bytes are JSON of an object or array, else the bytes as one value."""
    if value[:1] in (b"{", b"["):
        try:
            return _json(json.loads(value), ordered=ordered)
        except ValueError:
            pass
    try:
        return Leaf("text", value.decode())
    except UnicodeDecodeError:
        return Leaf("bytes", value)


def _json(value: Any, *, ordered: bool = False) -> Tree:
    match value:
        case dict():
            return Names({name: _json(inner, ordered=ordered) for name, inner in value.items()}, ordered)
        case list():
            return Elements([_json(inner, ordered=ordered) for inner in value])
        case None:
            return Leaf("null", None)
        case bool():
            return Leaf("boolean", value)
        case int() | float():
            return Leaf("number", value)
        case _:
            return Leaf("string", value)


def shown(content: Tree | None, longest: int = 100) -> str:
    """Return a value in short, for a person who asked to see values; "" for none."""
    text = "" if content is None else json.dumps(_plain(content), ensure_ascii=False)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def kind_of(content: Tree | None) -> str:
    """Return the store's type of a value, which says nothing of it; "" for none."""
    match content:
        case None:
            return ""
        case Leaf(type=kind):
            return kind
        case Names():
            return "object"
        case _:
            return "array"


def _plain(content: Tree) -> Any:
    match content:
        case Names(values=values):
            return {name: _plain(inner) for name, inner in values.items()}
        case Elements(values=elements):
            return [_plain(inner) for inner in elements]
        case Leaf(value=bytes(raw)):
            return base64.b64encode(raw).decode()
        case Leaf(value=tuple(members)):
            return [_plain(Leaf("", member)) for member in members]
        case Leaf(value=Decimal() as number):
            return str(number)
        case Leaf(value=value):
            return value


def _readable(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def joined(path: Sequence[str]) -> str:
    """Return the path as a report names it, "" for the whole content."""
    return ".".join(path)
