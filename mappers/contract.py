"""What a mapper is: a pure function from one document to the records that stand for it in one store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from mappers.census import Census

Document = Mapping[str, Any]
"""A MongoDB document as `mappers.decoding.decode` gives it; field order is the stored one."""


class Record(Protocol):
    """What one store holds under one address; immutable, and able to hold only what that store can."""

    @property
    def address(self) -> str:
        """Where the record lives: unique within its route's target, and enough to read or delete it there."""

    @property
    def expires_at_ms(self) -> int | None:
        """Epoch milliseconds after which the store may drop the record, or None."""

    def canonical(self) -> bytes:
        """Bytes that are equal exactly when two records mean the same to their store (R10)."""


R_co = TypeVar("R_co", bound=Record, covariant=True)


class Mapper(Protocol[R_co]):
    """Maps one document to its records; no records means the document was dropped on purpose, and is counted.

    The same document always gives the same records: verification maps it again. One thread at a time.
    """

    def __call__(self, document: Document, /) -> Iterable[R_co]:
        """Return the document's records; raises MappingError for a document its store cannot hold."""


@runtime_checkable
class Designer(Protocol):
    """A mapper that designs its target's place, and the shape of its records, from what the documents hold.

    The design is JSON data, made once for a run and remembered: resuming and verifying follow the same.
    """

    def survey(self, *, mapped: bool) -> int | None:
        """Return how many documents to look at, 0 for all, None for no design; `mapped`: the plan made one itself."""

    def design(self, census: Census) -> Mapping[str, Any]:
        """Return the design; raises ValueError, as ``key: text``, where none serves these documents."""

    def follow(self, design: Mapping[str, Any], /) -> None:
        """From now on documents are mapped by this design."""


class MapperType(Protocol):
    """What an entry point of the group `offramp.mappers` names: a class that makes mappers."""

    Options: ClassVar[type]
    """A dataclass: the keys a route may give this mapper, with their defaults."""
    target: ClassVar[str]
    """The name of the target whose records it makes."""

    def __call__(self, options: Any, route: str, losses: Losses, /) -> Mapper[Record]:
        """Return a mapper for one route; raises ValueError for options that cannot be served."""


class MappingError(ValueError):
    """A document cannot be mapped: it becomes a reject and the run goes on.

    The text names the field and the reason, never the value (values may be personal data).
    """

    def __init__(self, code: str, field: str, reason: str) -> None:
        """Keep the error's parts: a catalogue code such as ``E-MAP-VALUE``, the field's path, the reason."""
        super().__init__(code, field, reason)
        self.code = code
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class Losses:
    """Counts, by kind, the values that a store could not hold exactly (R29).

    A mapper calls `add` while it maps; the copying loop calls `keep` once the document is accepted and `discard`
    when it is rejected, so that a rejected document adds nothing.
    """

    def __init__(self) -> None:
        """Start with nothing lost."""
        self._kept: Counter[str] = Counter()
        self._pending: list[str] = []

    def add(self, kind: str) -> None:
        """Count one loss of this kind for the document being mapped."""
        self._pending.append(kind)

    def keep(self) -> None:
        """The document was accepted: its losses count."""
        if self._pending:
            self._kept.update(self._pending)
            self._pending.clear()

    def discard(self) -> None:
        """The document was rejected: its losses do not count."""
        self._pending.clear()

    def take(self) -> dict[str, int]:
        """Return the kept counts and start again from nothing."""
        taken = dict(self._kept)
        self._kept.clear()
        return taken
