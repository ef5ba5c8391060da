"""Transforms that choose, rename and move fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

from mappers.contract import Document
from mappers.documents.fields import MISSING, dropping, keeping
from mappers.losses import Losses
from mappers.transforms.paths import collision, deepest_first, each_object, put, taken
from mappers.transforms.transform import (
    Fault,
    Known,
    Transform,
    Where,
    check_name,
    check_path,
    check_paths,
    keyed,
    overlap,
    within,
)


@dataclass(frozen=True)
class Select(Transform):
    """Keep only these fields, by dotted path; `_id` always stays."""

    name: ClassVar[str] = "select"
    bare: ClassVar[bool] = True
    paths: Sequence[str]

    def check(self) -> Iterator[Fault]:
        """Yield the paths with an empty name."""
        for at, path in enumerate(self.paths):
            if not all(path.split(".")):
                yield from check_path((at,), path)

    def follow(self, known: Known, step: str) -> None:
        """Record that only the paths remain."""
        known.select(self.paths, step)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with these fields alone."""
        return (keeping(document, self.paths),)


@dataclass(frozen=True)
class Drop(Transform):
    """Keep all but these fields, by dotted path."""

    name: ClassVar[str] = "drop"
    bare: ClassVar[bool] = True
    paths: Sequence[str]

    def check(self) -> Iterator[Fault]:
        """Yield an empty list, paths with an empty name, and `_id`."""
        if not self.paths:
            yield (), "is empty; name at least one field"
        for at, path in enumerate(self.paths):
            yield from check_path((at,), path)

    def follow(self, known: Known, step: str) -> None:
        """Record that the paths are gone."""
        for path in self.paths:
            known.remove(path, step)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document without these fields."""
        return (dropping(document, self.paths),)


@dataclass(frozen=True)
class Rename(Transform):
    """A new name for each field, in its place: {address.zip: postcode}."""

    name: ClassVar[str] = "rename"
    bare: ClassVar[bool] = True
    names: Mapping[str, str]

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths and names, and two fields that would be one."""
        yield from check_paths(keyed(self.names))
        sources: dict[str, str] = {}
        for path, name in self.names.items():
            parent, dot, old = path.rpartition(".")
            yield from check_name((path,), name, top=not dot)
            if name == old:
                yield (path,), f"is called {name!r} already"
            new = parent + dot + name
            if new in sources:
                yield (path,), f"becomes {new!r}, and so does {sources[new]!r}; give each its own name"
            sources[new] = path

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the old paths."""
        return list(keyed(self.names).items())

    def makes(self) -> Sequence[str]:
        """Return the new paths."""
        return [path.rpartition(".")[0] + "." * ("." in path) + new for path, new in self.names.items()]

    def follow(self, known: Known, step: str) -> None:
        """Record that the old paths are gone and the new ones may exist."""
        for path in self.names:
            known.remove(path, step)
        super().follow(known, step)

    @cached_property
    def _by_parent(self) -> Sequence[tuple[Sequence[str], Mapping[str, str]]]:
        # The deepest first: a renamed parent would not be found by its old name.
        return [
            (parent, {old: self.names[".".join((*parent, old))] for old in names})
            for parent, names in deepest_first(self.names)
        ]

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with all names of an object changed at once; raises MappingError for a name twice."""
        for parent, names in self._by_parent:
            document = each_object(document, parent, partial(_renamed, parent, names))
        return (document,)


def _renamed(parent: Sequence[str], names: Mapping[str, str], fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if names.keys().isdisjoint(fields):
        return fields
    renamed: dict[str, Any] = {}
    for name, value in fields.items():
        new = names.get(name, name)
        if new in renamed:
            raise collision(".".join((*parent, new)))
        renamed[new] = value
    return renamed


@dataclass(frozen=True)
class Move(Transform):
    """A new path for each field: {address.city: city}; objects on the way are made."""

    name: ClassVar[str] = "move"
    bare: ClassVar[bool] = True
    paths: Mapping[str, str]

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, places within the field itself, and two fields for one place."""
        yield from check_paths(keyed(self.paths))
        earlier: dict[str, str] = {}
        for source, destination in self.paths.items():
            yield from check_path((source,), destination)
            if within(destination, source):
                yield (source,), f"cannot go to {destination!r}, which is its own path or inside it"
            for other, its_source in earlier.items():
                if overlap(destination, other):
                    yield (
                        (source,),
                        f"goes to {destination!r}, and {its_source!r} to {other!r}; give each its own place",
                    )
            earlier[destination] = source

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the old paths."""
        return list(keyed(self.paths).items())

    def makes(self) -> Sequence[str]:
        """Return the new paths."""
        return list(self.paths.values())

    def follow(self, known: Known, step: str) -> None:
        """Record that the old paths are gone and the new ones may exist."""
        for path in self.paths:
            known.remove(path, step)
        super().follow(known, step)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with all fields taken out, then put in; raises MappingError for a place that is taken."""
        values: dict[str, Any] = {}
        for source, destination in self.paths.items():
            document, value = taken(document, source)
            if value is not MISSING:
                values[destination] = value
        for destination, value in values.items():
            document = put(document, destination, value)
        return (document,)


TRANSFORMS: tuple[type[Transform], ...] = (Select, Drop, Rename, Move)
