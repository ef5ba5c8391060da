"""The contract of a transform: a class with its keys in a plan, its faults, its fields, and its effect on documents."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mappers.contract import Document
from mappers.losses import Losses

Where = tuple[str | int, ...]
"""A place below a key of a plan."""
Fault = tuple[Where, str]
"""The place of a fault, and its text."""

Substitute = Literal["value", "text", "fields"]
"""What a transform may put in place of a field: another value, a text of JSON, or the field's own fields beside it."""


@dataclass(frozen=True)
class Transform(ABC):
    """One step between a document and its mapper; the dataclass fields of a subclass are its keys in a plan.

    Its docstring is the plan schema's text for it. To add a transform: write a subclass with `name`, list it in the
    TRANSFORMS of its module, describe it in docs/transforms.md, and test it.
    """

    name: ClassVar[str]
    """The key of a step in a plan that says which transform it is."""
    bare: ClassVar[bool] = False
    """True if its one dataclass field is written right below that name, without a key of its own."""
    secrets: ClassVar[Collection[str]] = ()
    """Its keys whose values must come from the environment."""
    useless_on: ClassVar[Collection[Substitute]] = ()
    """The substitutes, put in place of a field by another transform, with which this one can do nothing."""
    splits: ClassVar[bool] = False
    """True if it makes several documents of one."""

    @property
    def written(self) -> Any:
        """The value below its name in a plan."""
        return getattr(self, dataclasses.fields(self)[0].name) if self.bare else self

    def check(self) -> Iterator[Fault]:
        """Yield the faults of its keys."""
        yield from ()

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return each field without which it does nothing, after the field's place in the plan."""
        return ()

    def makes(self) -> Sequence[str]:
        """Return the fields that it may bring into a document."""
        return ()

    def leaves_date(self, path: str) -> bool | None:
        """Return whether the field may be a date after this transform; None if it leaves the field unchanged."""
        return True if path in self.makes() else None

    def follow(self, known: Known, step: str) -> None:
        """Update `known` to the facts after this transform, which messages call `step`."""
        for path in self.makes():
            known.make(path)

    def of_id(self) -> Transform | None:
        """Return the part of it that changes an `_id`; None if it leaves every `_id` unchanged."""
        return None

    @abstractmethod
    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the documents made of one, none if it is dropped on purpose, and add their losses to `losses`.

        The document itself stays as it is. Raises MappingError if the change would lose or overwrite something.
        """


@dataclass
class Known:
    """The facts about every document between two transforms that are true for any collection."""

    absent: dict[str, str] = field(default_factory=dict)
    """Fields that no document has any more, each with the step that removed it."""
    selected: list[tuple[set[str], str]] = field(default_factory=list)
    """The fields that a step kept or a later step made, with the name of the first step."""
    substitutes: dict[str, tuple[Substitute, str]] = field(default_factory=dict)
    """Fields that hold what a step put there, of which kind, and the step: nothing is within them."""
    flattened: list[str] = field(default_factory=list)
    """The beginnings of names that a step may have made of the fields of objects."""

    def select(self, paths: Iterable[str], step: str) -> None:
        """Record that only these fields and the `_id` remain."""
        self.selected.append(({*paths, "_id"}, step))

    def remove(self, path: str, step: str) -> None:
        """Record that the field is gone."""
        self.absent[path] = step

    def make(self, path: str) -> None:
        """Record that the field may exist."""
        self.absent = {removed: step for removed, step in self.absent.items() if not overlap(removed, path)}
        self.substitutes = {there: value for there, value in self.substitutes.items() if not within(there, path)}
        for paths, _ in self.selected:
            paths.add(path)

    def substitute(self, path: str, kind: Substitute, step: str) -> None:
        """Record that the field has a value of this kind in place of its own."""
        self.substitutes[path] = (kind, step)

    def lacking(self, path: str, useless_on: Collection[Substitute] = ()) -> str | None:
        """Return why no document has the field; None if one may. A substitute of `useless_on` counts as no field."""
        if path.startswith(tuple(self.flattened)):
            return None
        for removed, step in self.absent.items():
            if within(path, removed):
                return f"no document has {path} at this point: {step} removes {removed}"
        for paths, step in self.selected:
            if not any(overlap(path, kept) for kept in paths):
                return f"no document has {path} at this point: {step} does not keep it"
        for there, (kind, step) in self.substitutes.items():
            if within(path, there) and (path != there or kind in useless_on):
                done = (
                    f"moved the fields of {there} up" if kind == "fields" else f"put another value in place of {there}"
                )
                return f"{step} has {done} already"
        return None


# --- what checks share ------------------------------------------------------------------------------------------------


def listed(paths: Sequence[str], *below: str) -> dict[Where, str]:
    """Return the paths of a list by their places in the plan; `below` is the place of the list."""
    return {(*below, at): path for at, path in enumerate(paths)}


def keyed(paths: Iterable[str], *below: str) -> dict[Where, str]:
    """Return paths that are keys by their places in the plan; `below` is the place of their object."""
    return {(*below, path): path for path in paths}


def below(key: str, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults with this key put before their places."""
    yield from (((key, *where), text) for where, text in faults)


def check_path(where: Where, path: str, *, whole_id: bool = False) -> Iterator[Fault]:
    """Yield the faults of a path: an empty name, or an `_id` that must not be changed."""
    names = path.split(".")
    if any(not name or "\0" in name for name in names):
        yield where, f"found {path!r}, which has an empty field name; write a dotted path such as address.city"
    elif names[0] == "_id" and not (whole_id and path == "_id"):
        yield where, "_id and its parts cannot be changed here: _id identifies the document in the target"


def check_paths(places: Mapping[Where, str], *, whole_id: bool = False) -> Iterator[Fault]:
    """Yield the faults of one transform's paths. No path may be equal to another or lie within it."""
    if not places:
        yield (), "is empty; name at least one field"
    earlier: list[str] = []
    for where, path in places.items():
        yield from check_path(where, path, whole_id=whole_id)
        yield from ((where, f"found {path!r} beside {other!r}; keep one") for other in earlier if overlap(path, other))
        earlier.append(path)


def check_name(where: Where, name: str, *, top: bool) -> Iterator[Fault]:
    """Yield the faults of a new name; `top` is True for a name at the top level."""
    if not name or "\0" in name or "." in name:
        yield where, f"found {name!r}; write one name without dots (move takes a path)"
    elif top and name == "_id":
        yield where, "no other field can become _id: it identifies the document in the target"


def overlap(path: str, other: str) -> bool:
    """Return whether one of two paths is the other or lies within it."""
    return within(path, other) or within(other, path)


def within(path: str, parent: str) -> bool:
    """Return whether a path is the parent or lies within it."""
    return path == parent or path.startswith(parent + ".")
