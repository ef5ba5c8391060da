"""What another distribution adds: a target that keeps labels in memory, and the mapper that makes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from mappers.contract import Document, Losses, MapperDeclarations
from mappers.identity import identity
from stores.contract import Removable
from stores.memory import MemoryTarget


@dataclass(frozen=True, slots=True)
class Label:
    """A text under an address."""

    address: str
    text: str
    expires_at_ms: None = None

    def canonical(self) -> bytes:
        """Return the text's bytes."""
        return self.text.encode()


class ShelfTarget(MemoryTarget):
    """Labels of one shelf."""

    @dataclass(frozen=True)
    class Connection:
        """The keys of `targets.shelf`."""

        house: str
        """Where the shelf stands."""

    @dataclass(frozen=True)
    class Placement:
        """The keys a route may give."""

        shelf: str | None = None
        """The shelf's name; the route's name by default."""
        rows: int = 1
        """How many rows it has."""

    def __init__(self, connection: Connection, placement: Placement, route: str) -> None:
        """Take the options; raises ValueError for a shelf without rows."""
        if placement.rows < 1:
            raise ValueError(f"rows: found {placement.rows}; a shelf has at least one")
        name = placement.shelf if placement.shelf is not None else route
        super().__init__(MemoryTarget.Connection(), MemoryTarget.Placement(f"{connection.house}/{name}"), route)


class LabelMapper:
    """One document to one label."""

    @dataclass(frozen=True)
    class Options:
        """The keys a route may give."""

        text: str
        """What stands on each label."""

    target: ClassVar[str] = "shelf"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options."""
        self._text = options.text

    def __call__(self, document: Document, /) -> Iterable[Label]:
        """Return the document's label."""
        return (Label(identity(document), self._text),)


class LooksAddressing(LabelMapper):
    """A mapper with a method that happens to be called as that of an ability."""

    def addresses(self) -> list[str]:
        """Return where the labels are sent."""
        return []


class LooksDeclared(LabelMapper):
    """A mapper that says what the contract gives a meaning to, and whose options do."""

    dates_in_ms = True

    @dataclass(frozen=True)
    class Options:
        """The keys a route may give."""

        expires: str
        """When the label is taken off."""


class ShelvedMapper(LabelMapper, MapperDeclarations):
    """A mapper that names a use case of its own, and one that another mapper has."""

    use_cases = ("shelf", "entity")


class Shapeless:
    """A target whose author forgot its keys."""


class CountsVisitors(ShelfTarget):
    """A target that has a method of this name, but counts something else."""

    def count(self) -> int:
        """Return how many have looked at the shelf."""
        return 7


class Unfinished(ShelfTarget, Removable):
    """A target that inherits an ability without what it asks for."""
