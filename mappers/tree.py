"""The content of a record as nested values, in the same form for every store, so that two can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that has no parts, of a type by the store's own name."""

    type: str
    value: object


@dataclass(frozen=True, slots=True)
class Names:
    """Values by name; `ordered` says whether their order counts."""

    values: Mapping[str, Tree]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Elements:
    """Values in an order that counts."""

    values: Sequence[Tree]


Tree = Leaf | Names | Elements


def json_tree(value: Any, *, ordered: bool = False) -> Tree:
    """Return a value of JSON as a tree; `ordered` says whether the order of an object's names counts."""
    match value:
        case dict():
            return Names({name: json_tree(inner, ordered=ordered) for name, inner in value.items()}, ordered)
        case list():
            return Elements([json_tree(inner, ordered=ordered) for inner in value])
        case None:
            return Leaf("null", None)
        case bool():
            return Leaf("boolean", value)
        case int() | float():
            return Leaf("number", value)
        case _:
            return Leaf("string", value)
