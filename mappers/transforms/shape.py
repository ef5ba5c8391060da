"""Transforms that change a document's shape: nested fields beside others, a document an element, values as text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import orjson

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING
from mappers.identity import encode, identity
from mappers.losses import Losses
from mappers.transforms.paths import (
    changed_at_each,
    collision,
    deepest_first,
    each_object,
    fields_of,
    put,
    reached,
    replaced,
)
from mappers.transforms.transform import (
    Fault,
    Known,
    Substitute,
    Transform,
    Where,
    below,
    check_name,
    check_path,
    check_paths,
    listed,
)
from mappers.values.json_values import JsonValues, redis_json


@dataclass(frozen=True)
class Flatten(Transform):
    """Fields of objects as fields beside them."""

    name: ClassVar[str] = "flatten"
    useless_on: ClassVar[Collection[Substitute]] = ("value", "text")
    fields: Sequence[str] | None = None
    """Objects whose fields move up to where they stand, by dotted path; all of the top level but `_id` by default."""
    separator: str = "_"
    """Stands between the names: address.city becomes address_city."""

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, and a separator that keeps no names apart."""
        if self.fields is not None:
            yield from below("fields", check_paths(listed(self.fields)))
        if not self.separator or "\0" in self.separator:
            yield ("separator",), "is empty; names of different depth could become the same"

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the objects that are named."""
        return list(listed(self.fields or (), "fields").items())

    def follow(self, known: Known, step: str) -> None:
        """Record that the names of the objects' fields begin with the objects' names."""
        known.flattened += [path + self.separator for path in self.fields] if self.fields else [""]
        for path in self.fields or ():
            known.substitute(path, "fields", step)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with the objects' fields in their places; raises MappingError for a name twice."""
        if self.fields is None:
            return (self._flat((), document.keys() - {"_id"}, document),)
        for parent, names in self._by_parent:
            document = each_object(document, parent, partial(self._flat, parent, names))
        return (document,)

    @cached_property
    def _by_parent(self) -> Sequence[tuple[Sequence[str], Collection[str]]]:
        return deepest_first(self.fields or ())

    def _flat(self, parent: Sequence[str], names: Collection[str], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        flattened: dict[str, Any] = {}
        for name, value in fields.items():
            for flat, inner in _leaves(name, value, self.separator) if name in names else ((name, value),):
                if flat in flattened or (not parent and flat == "_id" != name):
                    raise collision(".".join((*parent, flat)))
                flattened[flat] = inner
        return flattened


def _leaves(name: str, value: Any, separator: str) -> Iterable[tuple[str, Any]]:
    """Yield the fields of an object at any depth by their joined names; an empty one, and any array, as it is."""
    if not isinstance(value, Mapping) or not value:
        yield name, value
        return
    for inner_name, inner in value.items():
        yield from _leaves(name + separator + inner_name, inner, separator)


@dataclass(frozen=True)
class Explode(Transform):
    """A document for each element of an array."""

    name: ClassVar[str] = "explode"
    useless_on: ClassVar[Collection[Substitute]] = ("value", "text")
    splits: ClassVar[bool] = True
    field: str
    """The array, by dotted path; each document made has one of its elements in its place."""
    id: str | None = None
    """A field of the elements, unique in its array, that names them; their position from 0 by default."""
    position: str | None = None
    """A new top-level field for the element's position in the array, from 0."""
    empty: Literal["reject", "drop", "keep"] = "reject"
    """What becomes of a document whose array is missing, null or empty."""

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths and names."""
        yield from below("field", check_path((), self.field))
        if self.id is not None and not all(self.id.split(".")):
            yield ("id",), f"found {self.id!r}; write a field of the elements, such as sku"
        if self.position is not None:
            yield from check_name(("position",), self.position, top=True)
            if self.position == self.field:
                yield ("position",), "is the field of the element itself; choose another name"

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the array."""
        return [(("field",), self.field)]

    def makes(self) -> Sequence[str]:
        """Return the field for the position."""
        return [] if self.position is None else [self.position]

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return a document for each element; raises MappingError where an element has no name of its own."""
        identity(document)  # Refuses a document without an _id, whose elements would have none either.
        array = reached(document, self.field)
        mark = "position" if self.id is None else "element"
        if array is MISSING or array is None or array == []:
            if self.empty == "keep":
                return (self._element_document(document, {mark: None}, None),)
            if self.empty == "drop":
                return ()
            reason = "has no element to make a document from; set empty: drop or empty: keep"
            raise MappingError("E-TRANSFORM-MISSING", self.field, reason)
        if not isinstance(array, list):
            raise MappingError("E-TRANSFORM-ARRAY", self.field, f"is {type(array).__name__}, not an array")
        seen: set[str] = set()
        documents: list[Document] = []
        for position, element in enumerate(array):
            value = position if self.id is None else _element_name(element, self.id, self.field, seen)
            documents.append(self._element_document(replaced(document, self.field, element), {mark: value}, position))
        return documents

    def _element_document(self, document: Document, mark: Mapping[str, Any], position: int | None) -> Document:
        # The parent's whole _id and what sets the element apart in it: as distinct as the parents' are (R31).
        document = {**document, "_id": {"parent": document["_id"], **mark}}
        return document if self.position is None else put(document, self.position, position)


def _element_name(element: Any, path: str, array: str, seen: set[str]) -> Any:
    fields = fields_of(element)
    value = MISSING if fields is None else reached(fields, path)
    if value is MISSING or isinstance(value, list):
        what = "is missing in an element" if value is MISSING else "is an array in an element"
        raise MappingError("E-TRANSFORM-IDENTITY", f"{array}.{path}", f"{what}, so the element has no identity")
    text = encode(value)
    if text in seen:
        raise MappingError(
            "E-TRANSFORM-IDENTITY",
            f"{array}.{path}",
            "two elements have the same identity; leave out id to name elements by position",
        )
    seen.add(text)
    return value


@dataclass(frozen=True)
class Embed(Transform):
    """Objects and arrays as JSON text, by dotted path."""

    name: ClassVar[str] = "embed"
    bare: ClassVar[bool] = True
    useless_on: ClassVar[Collection[Substitute]] = ("value", "text")
    paths: Sequence[str]

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths."""
        yield from check_paths(listed(self.paths))

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the fields."""
        return list(listed(self.paths).items())

    def follow(self, known: Known, step: str) -> None:
        """Record that the fields are texts."""
        for path in self.paths:
            known.substitute(path, "text", step)

    def leaves_date(self, path: str) -> bool | None:
        """Return False for a field that becomes a text."""
        return False if path in self.paths else None

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with texts in place of the fields it has; raises MappingError for what JSON has not."""
        return (changed_at_each(document, self._changes, lambda _path, _value: None),)

    @cached_property
    def _changes(self) -> Mapping[str, Callable[[Any], Any]]:
        values = redis_json()
        return {path: partial(_json_text, values, path) for path in self.paths}


def _json_text(values: JsonValues, path: str, value: Any) -> Any:
    if value is MISSING:
        return value
    try:
        return orjson.dumps(values.value(value)).decode()
    except MappingError as error:
        raise MappingError(error.code, f"{path}.{error.field}" if error.field else path, error.reason) from None


TRANSFORMS: tuple[type[Transform], ...] = (Flatten, Explode, Embed)
