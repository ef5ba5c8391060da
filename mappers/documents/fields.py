"""Fields of a document by path: look up, keep or drop, and the key templates of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson import DBRef

from mappers.contract import Document

MISSING = object()
"""The result of `lookup` if the document has no such field; null is a value."""


def lookup(document: Document, path: str) -> Any:
    """Return the value at a dotted path through objects (not arrays), or MISSING."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value


def without_id(document: Document) -> dict[str, Any]:
    """Return every field but `_id`, for a record that keeps the id elsewhere."""
    fields = dict(document)
    fields.pop("_id", None)
    return fields


def keeping(document: Document, paths: Iterable[str]) -> Document:
    """Return the document with `_id` and the named fields only, in their stored order."""
    wanted = _tree([*paths, "_id"])
    return _kept(document, wanted)


def dropping(document: Document, paths: Iterable[str]) -> Document:
    """Return the document without the named fields; everything else stays in its order.

    Raises ValueError for `_id` or a part of it: documents without their whole `_id` would overwrite each other.
    """
    unwanted = _tree(paths)
    if "_id" in unwanted:
        raise ValueError("_id, or a part of it, cannot be dropped: it identifies the document in the target")
    return _dropped(document, unwanted)


def _tree(paths: Iterable[str]) -> dict[str, Any]:
    """Return nested dicts of the paths; an empty dict means the whole field."""
    tree: dict[str, Any] = {}
    for path in sorted(paths, key=len, reverse=True):
        node = tree
        for name in path.split("."):
            node = node.setdefault(name, {})
        node.clear()  # A shorter path covers every longer one below it.
    return tree


def _kept(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name in wanted:
            below = wanted[name]
            if not below:
                kept[name] = value
            elif isinstance(value, Mapping | list | DBRef):
                kept[name] = _within(value, below, _kept, scalars=False)
    return kept


def _dropped(document: Mapping[str, Any], unwanted: Mapping[str, Any]) -> dict[str, Any]:
    left: dict[str, Any] = {}
    for name, value in document.items():
        below = unwanted.get(name)
        if below is None:
            left[name] = value
        elif below:
            left[name] = _within(value, below, _dropped, scalars=True)
    return left


def _within(value: Any, below: Mapping[str, Any], apply: Callable[..., dict[str, Any]], scalars: bool) -> Any:
    """Apply to the object, or to each object of the array, at any depth; other elements stay only if so asked."""
    if isinstance(value, list):
        return [
            _within(inner, below, apply, scalars)
            for inner in value
            if scalars or isinstance(inner, Mapping | list | DBRef)
        ]
    if isinstance(value, DBRef):  # A stored object like any other: it may hold more fields than its own.
        value = value.as_doc().to_dict()
    return apply(value, below) if isinstance(value, Mapping) else value
