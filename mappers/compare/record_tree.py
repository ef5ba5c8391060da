"""A record's content as reports show it to people: paths, types, and shortened values."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from mappers.contract import Comparable, Record
from mappers.tree import Elements, Leaf, Names, Tree


def tree(record: Record) -> Tree:
    """Return the record's content; for a record that is not Comparable, its canonical bytes as one value."""
    return record.content() if isinstance(record, Comparable) else Leaf(type(record).__name__, record.canonical())


def shown(content: Tree | None, longest: int = 100) -> str:
    """Return a shortened value, for a person who asked to see values; "" for None."""
    text = "" if content is None else json.dumps(_plain(content), ensure_ascii=False)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def kind_of(content: Tree | None) -> str:
    """Return the store's type of a value, which reveals nothing of the value; "" for None."""
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


def joined(path: Sequence[str]) -> str:
    """Return the path as a report names it, "" for the whole content."""
    return ".".join(path)
