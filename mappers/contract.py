"""What a mapper is: a pure function from one document to the records that stand for it in one store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from mappers.losses import Losses as Losses
from mappers.policies import Anomalies, Fidelity
from mappers.tree import Tree

Document = Mapping[str, Any]
"""A MongoDB document as `mappers.documents.decoding.decode` gives it; field order is the stored one."""


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


class Comparable:
    """A record whose content has parts, so that a report can say where two of them differ. A record inherits it."""

    __slots__ = ()

    def content(self) -> Tree:
        """Return the content as nested values. Raises ValueError or TypeError for a content that is not in its form."""
        raise NotImplementedError


class Restorable:
    """A record that may hold a document's exact BSON, as `fidelity: lossless` writes it. A record inherits it."""

    __slots__ = ()

    def restore(self) -> bytes:
        """Return the BSON. Raises ValueError, KeyError, TypeError or AttributeError for a record that has none."""
        raise NotImplementedError


R_co = TypeVar("R_co", bound=Record, covariant=True)


class Mapper(Protocol[R_co]):
    """Maps one document to its records; no records means the document was dropped on purpose, and is counted.

    The same document always gives the same records: verification maps it again. One thread at a time.
    """

    def __call__(self, document: Document, /) -> Iterable[R_co]:
        """Return the document's records; raises MappingError for a document its store cannot hold."""


class Addressing(ABC):
    """A mapper that knows from an `_id` alone where a document's records are, also of a document that is gone."""

    @abstractmethod
    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the addresses of all records of a document of which only the `_id` is known.

        None, whatever the `_id`, where other fields have a say in them. Raises MappingError for an `_id` that is
        mapped to nothing.
        """


class Straight(ABC):
    """A mapper that makes records of stored bytes, for documents in which it need look at nothing."""

    @abstractmethod
    def straight(self, documents: Sequence[bytes], /) -> Sequence[Record | None]:
        """Return the one record of each document, as mapping it would; None for one that must be decoded and mapped.

        A record lost nothing. Empty where no document can be mapped so.
        """


class MapperDeclarations:
    """What a class of mappers may say of itself. It inherits this class, and what it does not say is as here."""

    use_cases: ClassVar[Sequence[str]] = ()
    """The values of a route's `use_case` that pick this mapper and its target."""
    dates_in_ms: ClassVar[bool] = False
    """Whether it takes each date as a DatetimeMS, which is decoded in less time than a datetime."""
    PLACEMENT: ClassVar[Mapping[str, Any]] = {}
    """Keys of the target's placement that hold for each of its routes."""


class OptionDeclarations:
    """What a mapper's `Options` may say beside keys. They inherit this class, and what they do not say is as here."""

    fidelity: Fidelity = "native"
    """lossless: each record must give back its whole document, and is Restorable."""
    id_encoding: Literal["typed", "plain"] = "typed"
    """plain: `_id` is written without its type, so a run proves first that all are of one kind."""
    expires: Any = None
    """The option of `mappers.expiry`, of a mapper that has one."""

    @property
    def anomalies(self) -> Anomalies | None:
        """What becomes of documents that a decoder would change; None where they are rejects.

        A mapper that names policies takes the types of `mappers.documents.irregular` as values.
        """
        return None

    def needed(self) -> Iterable[tuple[str, str]]:
        """Yield the fields by whose absence records would be wrong, each after the option that names it."""
        return ()


def declarations(mapper: MapperType | None) -> type[MapperDeclarations]:
    """Return what a class of mappers says of itself: the defaults where it does not inherit MapperDeclarations."""
    kind: object = mapper
    return kind if isinstance(kind, type) and issubclass(kind, MapperDeclarations) else MapperDeclarations


def option_declarations(options: object) -> OptionDeclarations:
    """Return what options say beside their keys: the defaults where they do not inherit OptionDeclarations."""
    return options if isinstance(options, OptionDeclarations) else OptionDeclarations()


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
