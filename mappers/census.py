"""The census of a collection: how many values of each kind its documents have at every field path (R81-R84)."""

from __future__ import annotations

import datetime as dt
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import Binary, Code, DBRef, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document
from mappers.documents.fields import without_id
from mappers.policies import INDEX_POLICIES, IndexPolicies
from mappers.values.json_values import EXACT_IN_DOUBLE
from mappers.values.tags import date_text, milliseconds, uuid_text

MOST_NAMES = 2_000
"""Distinct names below one object that are told apart; an object with more holds keys, not fields."""
MOST_FIELDS = 20_000
"""Field paths that a census counts in all: twenty times what an index takes by default, in about 25 MB."""
KEYWORD_UNITS = 8191
"""UTF-16 units of a term an index takes whatever its letters: at most 24,573 bytes of the 32,766 allowed (R84)."""

_FEWEST_KEYS = 50
_FEWEST_IDS = 5
_LATE_SHARE = 0.2
_TAG_HEIGHT = 3
"""Levels of objects that the deepest tag has, that of a dbPointer (`mappers.values.tags`)."""
_KEPT_SHARE = 0.75
"""The share of MOST_FIELDS that is left when a census had to forget names."""
_CONCENTRATED = 0.9
"""An object with so much of its fields in a single one below is kept; that one is forgotten."""

# Subclasses of str, bytes and int among BSON's types have rows of their own.
_SCALARS: Mapping[type, str] = {
    str: "string",
    ObjectId: "id",
    int: "long",
    Int64: "long",
    bool: "bool",
    bytes: "binary",
    type(None): "null",
}


@dataclass(slots=True)
class _Counting:
    """What the nodes of a census share."""

    kind: Callable[[Any], str]
    fields: int = 0
    """Nodes made, those forgotten aside."""


class Node:
    """The values counted at one field path. Each element of an array counts as a value, as an index sees it."""

    __slots__ = ("born", "children", "crowded", "cut", "geo", "height", "kinds", "lists", "long", "objects", "repeated")

    def __init__(self, born: int = 0) -> None:
        """Start with no value; `born` is the number of the first of its parent's objects that had the field."""
        self.born = born
        self.kinds: Counter[str] = Counter()
        """Values by kind: string, id, decimal, binary, long, double, bool, date, object, tag; and null."""
        self.children: dict[str, Node] = {}
        self.objects = 0
        self.repeated = 0
        """Values that were arrays of two objects and more (R91)."""
        self.long = 0
        """Strings of more than KEYWORD_UNITS UTF-16 units."""
        self.geo: Counter[str] = Counter()
        """Whole values by geographic form: pair, point, shape, other."""
        self.height = 0
        """Levels of objects below."""
        self.lists = 0
        """Levels of arrays directly within arrays, the outermost included."""
        self.crowded = False
        """True if there were more than MOST_NAMES names, or no room for them in the census; they are then forgotten."""
        self.cut = False
        """True if the names were forgotten to keep the whole census within MOST_FIELDS."""

    def add(self, value: Any, counting: _Counting) -> int:
        """Count one value of the field and return how many levels of objects it has."""
        if value is not None and value != []:
            self.geo[geo_form(value)] += 1
        if type(value) is list and sum(isinstance(element, Mapping) for element in value) > 1:
            self.repeated += 1
        return self._add(value, counting, 0)

    def _add(self, value: Any, counting: _Counting, lists: int) -> int:
        if isinstance(value, list):
            self.lists = max(self.lists, lists + 1)
            return max((self._add(element, counting, lists + 1) for element in value), default=0)
        if isinstance(value, DBRef):
            value = value.as_doc()
        if isinstance(value, Mapping):
            self.kinds["object"] += 1
            height = self.fields(value, counting)
        else:
            name = counting.kind(value)
            self.kinds[name] += 1
            if type(value) is str and len(value) > KEYWORD_UNITS // 2 and _units(value) > KEYWORD_UNITS:
                self.long += 1
            height = _TAG_HEIGHT if name == "tag" else 0
        self.height = max(self.height, height)
        return height

    def fields(self, value: Mapping[str, Any], counting: _Counting) -> int:
        """Count the fields of one object and return how many levels of objects it has, itself included."""
        self.objects += 1
        height = 0
        for name, inner in value.items():
            child = self.children.get(name)
            if child is None and not self.crowded:
                if len(self.children) < MOST_NAMES:
                    child = self.children[name] = Node(self.objects)
                    counting.fields += 1
                else:  # What they hold says nothing any more, and memory is not without end.
                    counting.fields -= self.forget()
            height = max(height, child.add(inner, counting) if child is not None else _height(inner, counting.kind))
        return height + 1

    def size(self) -> int:
        """Return how many fields are below."""
        return sum(1 + child.size() for child in self.children.values())

    def forget(self) -> int:
        """Forget the names below, now and from now on; returns how many fields they were."""
        fields = self.size()
        self.crowded = True
        self.children.clear()
        return fields

    def map_like(self) -> bool:
        """Return whether the names are keys, such as ids or days, and not fields: new names keep turning up (R83)."""
        if self.crowded:
            return True
        names = len(self.children)
        if names >= _FEWEST_IDS and all(map(_looks_like_key, self.children)):
            return True
        late = sum(child.born > self.objects / 2 for child in self.children.values())
        return names >= _FEWEST_KEYS and late >= names * _LATE_SHARE


class Census:
    """The counts of a collection's documents, as their mapper gets them, in memory with an upper limit."""

    def __init__(self, kind: Callable[[Any], str], *, most_fields: int = MOST_FIELDS) -> None:
        """Start with no document; `kind` names the kind of a scalar as the mapper writes it."""
        self._counting = _Counting(kind)
        self._most_fields = most_fields
        self.root = Node()
        self.documents = 0

    def add(self, document: Document) -> None:
        """Count one document without its `_id`, which becomes its address in the target.

        Past `most_fields` the names within the largest objects are forgotten; such a node is `cut`.
        """
        self.root.fields(without_id(document), self._counting)
        self.documents += 1
        if self._counting.fields > self._most_fields:
            self._forget()

    def _forget(self) -> None:
        top = self.root.children.items()
        for size, _, node in sorted(((child.size(), name, child) for name, child in top), key=_largest_first):
            if not size or self._counting.fields <= self._most_fields * _KEPT_SHARE:
                break
            node = _concentrated(node)
            node.cut = True
            self._counting.fields -= node.forget()


def _largest_first(entry: tuple[int, str, Node]) -> tuple[int, str]:
    return -entry[0], entry[1]


def _concentrated(node: Node) -> Node:
    """Return the lowest node below that has nearly all the fields of this one, itself if there is none."""
    size = node.size()
    while True:
        below, largest = max(((child.size(), child) for child in node.children.values()), key=lambda entry: entry[0])
        if below < size * _CONCENTRATED:
            return node
        node = largest


def kind(value: Any, policies: IndexPolicies = INDEX_POLICIES) -> str:
    """Return the kind of a scalar as these policies write it; `tag` for what becomes an object, as regexes do."""
    known = _SCALARS.get(type(value))
    if known is not None and known != "long":
        return known
    match value:
        case float():
            name = "double" if math.isfinite(value) else _nonfinite(policies)
        case Decimal128():
            name = "decimal" if value.to_decimal().is_finite() else _nonfinite(policies)
        case Binary():
            name = "tag" if uuid_text(value, policies.uuid_legacy) is None else "id"
        case dt.datetime() | DatetimeMS():
            name = "tag" if date_text(milliseconds(value)) is None else "date"
        case int() if known or not type(value).__module__.startswith("bson"):
            # A number past 2^53 that is written as text is searched as the decimals are.
            name = "decimal" if policies.int53 == "string" and abs(value) > EXACT_IN_DOUBLE else "long"
        case str() if not isinstance(value, Code):
            name = "string"
        case _:
            name = "tag"
    return name


def _nonfinite(policies: IndexPolicies) -> str:
    return "null" if policies.nonfinite == "as_null" else "tag"


def geo_form(value: Any) -> str:
    """Return the geographic form of a value.

    It is pair for [longitude, latitude] with or without an altitude, point for a GeoJSON point, shape for other
    GeoJSON, other for the rest. An array of values of one form is of that form.
    """
    if isinstance(value, list):
        if _is_pair(value):
            return "pair"
        forms = {geo_form(element) for element in value}
        return forms.pop() if len(forms) == 1 else "other"
    if not isinstance(value, Mapping):
        return "other"
    if value.get("type") == "Point":
        return "point" if set(value) == {"type", "coordinates"} and _is_pair(value["coordinates"]) else "other"
    if value.get("type") in ("LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"):
        return "shape" if isinstance(value.get("coordinates"), list) else "other"
    return "shape" if value.get("type") == "GeometryCollection" and "geometries" in value else "other"


def _is_pair(value: Any) -> bool:
    """Return whether it is [longitude, latitude], or that and an altitude, which an index takes and does not search."""
    return (
        isinstance(value, list)
        and 2 <= len(value) <= 3
        and all(kind(element) in ("long", "double") for element in value)
        and abs(value[0]) <= 180
        and abs(value[1]) <= 90
    )


def _height(value: Any, kind: Callable[[Any], str]) -> int:
    if isinstance(value, list):
        return max((_height(element, kind) for element in value), default=0)
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Mapping):
        return 1 + max((_height(inner, kind) for inner in value.values()), default=0)
    return _TAG_HEIGHT if kind(value) == "tag" else 0


def _units(text: str) -> int:
    return len(text) + sum(letter > "\uffff" for letter in text)


def _looks_like_key(name: str) -> bool:
    """Return whether a name is digits, a date, or hexadecimal as ObjectIds and UUIDs are."""
    bare = name.replace("-", "")
    return bare.isdecimal() or (len(bare) in (24, 32) and all(letter in "0123456789abcdefABCDEF" for letter in bare))


class Designer(ABC):
    """A mapper that designs its target's place and the shape of its records from a census of the documents.

    The design is JSON data. It is made once for a run and kept; resuming and verifying use the same design.
    """

    @abstractmethod
    def survey(self, *, mapped: bool) -> int | None:
        """Return how many documents to count, 0 for all, None for no design; `mapped`: the plan gives a mapping."""

    @abstractmethod
    def seen(self, document: Document, /) -> Document:
        """Return the document with its records' fields; raises MappingError for a document that cannot be mapped."""

    @abstractmethod
    def kind(self, value: Any, /) -> str:
        """Return the kind of a scalar as the mapper writes it (`mappers.census.kind`)."""

    @abstractmethod
    def design(self, census: Census) -> Mapping[str, Any]:
        """Return the design; raises ValueError, as ``key: text``, where no design fits these documents."""

    @abstractmethod
    def follow(self, design: Mapping[str, Any], /) -> None:
        """Map the documents that follow by this design."""
