"""Changes of documents at a dotted path. The result is a new document that shares the unchanged parts of the old."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from bson import DBRef

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING


def names_of(path: str) -> list[str]:
    """Return the names along a path."""
    return path.split(".")


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of an object, a reference's included (it is stored as one), or None for anything else."""
    if isinstance(value, DBRef):
        stored: dict[str, Any] = value.as_doc().to_dict()
        return stored
    return value if isinstance(value, Mapping) else None


def changed(holder: Any, names: Sequence[str], change: Callable[[Any], Any], blocked: Callable[[Any], Any]) -> Any:
    """Return the holder with the value at the path changed, in each element of the arrays on the way.

    `change` gets the value, or MISSING if there is none, and returns the new value. If it returns MISSING for MISSING,
    nothing is added. Missing objects on the way are made. `blocked` gets a value on the way that is no object.
    """
    if isinstance(holder, list):
        elements = [changed(element, names, change, blocked) for element in holder]
        return holder if all(new is old for new, old in zip(elements, holder, strict=True)) else elements
    fields = fields_of(holder)
    if fields is None:
        return blocked(holder)
    name, rest = names[0], names[1:]
    old = fields.get(name, MISSING)
    if old is MISSING:
        new = change(MISSING)
        for inner in reversed(rest):
            new = new if new is MISSING else {inner: new}
    else:
        new = changed(old, rest, change, blocked) if rest else change(old)
    return holder if new is old else {**fields, name: new}


def each_object(holder: Any, names: Sequence[str], change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """Return the holder with each object at the path changed, through arrays; anything else stays as it is."""
    if isinstance(holder, list):
        return [each_object(element, names, change) for element in holder]
    fields = fields_of(holder)
    if fields is None:
        return holder
    if not names:
        result = change(fields)
        return holder if result is fields else result
    old = fields.get(names[0], MISSING)
    if old is MISSING:
        return holder
    new = each_object(old, names[1:], change)
    return holder if new is old else {**fields, names[0]: new}


def reached(document: Document, path: str) -> Any:
    """Return the value at a path through objects, or MISSING; raises MappingError for an array on the way."""
    value: Any = document
    for name in names_of(path):
        if isinstance(value, list):
            raise _array(path)
        fields = fields_of(value)
        if fields is None or name not in fields:
            return MISSING
        value = fields[name]
    return value


def taken(document: Document, path: str) -> tuple[Document, Any]:
    """Return the document without the field, and its value or MISSING; an object left empty stays."""
    value = reached(document, path)
    return (document, value) if value is MISSING else (_without(document, names_of(path)), value)


def changed_at_each(
    document: Document, changes: Mapping[str, Callable[[Any], Any]], blocked: Callable[[str, Any], None]
) -> Document:
    """Return the document with the value at each path changed; `blocked` raises where a scalar is on the way.

    `blocked` gets the path and the scalar.
    """

    def kept(path: str, value: Any) -> Any:
        blocked(path, value)
        return value

    for path, change in changes.items():
        document = changed(document, names_of(path), change, partial(kept, path))
    return document


def obstructed(path: str, value: Any) -> None:
    """Raise MappingError for a path that cannot be set, as this value is on the way."""
    kind = "null" if value is None else type(value).__name__
    raise MappingError("E-TRANSFORM-PATH", path, f"cannot be set: {kind} is on the way, not an object")


def deepest_first(paths: Iterable[str]) -> list[tuple[list[str], list[str]]]:
    """Return the last names of paths by their parents' names, the longest parents first."""
    together: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        *parent, name = names_of(path)
        together.setdefault(tuple(parent), []).append(name)
    return [([*parent], names) for parent, names in sorted(together.items(), key=lambda item: -len(item[0]))]


def replaced(document: Document, path: str, value: Any) -> Document:
    """Return the document with another value in a field that it has."""
    result: Document = changed(document, names_of(path), lambda _: value, lambda blocking: blocking)
    return result


def put(document: Document, path: str, value: Any) -> Document:
    """Return the document with a new field and the objects on the way; raises MappingError if the field exists."""
    if reached(document, path) is not MISSING:
        raise collision(path)

    def added(_: Any) -> Any:
        return value

    result: Document = changed(document, names_of(path), added, partial(obstructed, path))
    return result


def collision(path: str) -> MappingError:
    """Return the error for a field that would take another one's place."""
    return MappingError("E-TRANSFORM-COLLISION", path, "the document already has a field of this name")


def _array(path: str) -> MappingError:
    return MappingError("E-TRANSFORM-ARRAY", path, "leads through an array, where it does not name a single value")


def _without(document: Document, names: Sequence[str]) -> Document:
    if len(names) == 1:
        return {name: value for name, value in document.items() if name != names[0]}
    inner = fields_of(document[names[0]])
    assert inner is not None  # noqa: S101 - the path was followed to its end before
    return {**document, names[0]: _without(inner, names[1:])}
