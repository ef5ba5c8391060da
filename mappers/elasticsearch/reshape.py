"""Conflicting fields in the shape that the route's design decided for them (R82)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from bson import DBRef

from mappers.contract import Document, MappingError
from mappers.elasticsearch.mapping import FAMILIES
from mappers.values.json_values import JsonValues

Kind = Callable[[Any], str]


@dataclass(slots=True)
class _Rule:
    how: str = ""
    family: str = ""
    below: dict[str, _Rule] = field(default_factory=dict)


class Reshaping:
    """The decisions of one design, by field path."""

    def __init__(self, decisions: Sequence[Mapping[str, Any]], values: JsonValues, kind: Kind) -> None:
        """Take the `reshape` of a design; `kind` names the kind of a scalar as `values` writes it."""
        self._values = values
        self._kind = kind
        self._root = _Rule()
        for decision in decisions:
            rule = self._root
            for name in decision["path"]:
                rule = rule.below.setdefault(name, _Rule())
            rule.how, rule.family = decision["how"], decision["family"]

    def __bool__(self) -> bool:
        """Return whether the design decides on any field."""
        return bool(self._root.below)

    def __call__(self, document: Document) -> Document:
        """Return the document reshaped; raises MappingError E-ES-CONFLICT for one that the design rejects."""
        return self._fields(document, self._root, "") if self else document

    def _fields(self, value: Mapping[str, Any], rule: _Rule, above: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, inner in value.items():
            decided = rule.below.get(name)
            if decided is not None:
                path = f"{above}{name}"
                if decided.below:
                    inner = self._within(inner, decided, path + ".")
                name, inner = self._decided(name, inner, decided, path)
                if name in value and name not in rule.below:
                    raise MappingError("E-NAME-COLLISION", path, f"split needs the name {name}, which the document has")
            fields[name] = inner
        return fields

    def _within(self, value: Any, rule: _Rule, above: str) -> Any:
        if isinstance(value, list):
            return [self._within(element, rule, above) for element in value]
        if isinstance(value, DBRef):
            value = value.as_doc()
        return self._fields(value, rule, above) if isinstance(value, Mapping) else value

    def _decided(self, name: str, value: Any, rule: _Rule, path: str) -> tuple[str, Any]:
        if not rule.how:
            return name, value
        if rule.how == "json_string":
            return name, None if value is None else orjson.dumps(self._values.value(value, path)).decode()
        families = set(_families(value, self._kind))
        if rule.how == "reject":
            if others := families - {rule.family}:
                what = f"holds {_in_words(others)} where most documents hold {_in_words({rule.family})}"
                raise MappingError("E-ES-CONFLICT", path, f"{what}, and the plan says conflict: reject")
            return name, value
        if len(families) > 1:
            raise MappingError(
                "E-ES-CONFLICT",
                path,
                f"an array holds {_in_words(families)}; conflict: split would lose their order",
            )
        # Null says nothing of its kind: it goes where most values are.
        return f"{name}__{families.pop() if families else rule.family}", value


def _families(value: Any, kind: Kind) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _families(element, kind)
    elif isinstance(value, Mapping | DBRef):
        yield FAMILIES["object"]
    elif (name := kind(value)) != "null":
        yield FAMILIES[name]


_WORDS = {
    "str": "text",
    "num": "a number",
    "bool": "a boolean",
    "date": "a date",
    "obj": "an object",
    "tag": "a value that JSON cannot hold",
}


def _in_words(families: set[str]) -> str:
    return " and ".join(_WORDS[family] for family in sorted(families))
