"""The contract of a mapper: a pure function from one document to its records in one store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

from mappers.losses import Losses as Losses
from mappers.policies import Anomalies, Fidelity
from mappers.tree import Tree

Document = Mapping[str, Any]
"""A MongoDB document as `mappers.documents.decoding.decode` gives it; field order is the stored one."""


class Record(Protocol):
    """The data that one store keeps under one address. A record is immutable and has only what its store can keep."""

    @property
    def address(self) -> str:
        """The record's address: unique within its route's target, and enough to read or delete the record."""

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
    """Maps one document to its records. No records means that the document was dropped on purpose, and is counted.

    The same document always gives the same records, because verification maps it again. One thread uses it at a time.
    """

    def __call__(self, document: Document, /) -> Iterable[R_co]:
        """Return the document's records; raises MappingError for a document its store cannot hold."""


class Addressing(ABC):
    """A mapper that knows the addresses of a document's records from its `_id` alone, also after its deletion."""

    @abstractmethod
    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the addresses of all records of a document, given its `_id` alone.

        Returns None for every `_id` if the addresses depend on other fields. Raises MappingError for an `_id` that is
        mapped to nothing.
        """

    @property
    def keeps_ids_apart(self) -> bool:
        """Whether no two documents share an address, as each has the whole `_id` in it."""
        return False


class Recognizing(ABC):
    """A mapper that tells records that it may have made from what other programs keep at similar addresses."""

    @abstractmethod
    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return False for a record that it makes of no document: by its address, or by what it holds.

        `id_kind` is the one kind of all `_id`s where they are written plain (`mappers.identity.PLAIN_KINDS`), "" if it
        is not known.
        """

    @abstractmethod
    def takes_any(self, id_kind: str, /) -> bool:
        """Return whether neither address nor content tells, so that any record of its type may be its own."""


class Straight(ABC):
    """A mapper that makes records straight from stored bytes, for documents that need no decoding."""

    @abstractmethod
    def straight(self, documents: Sequence[bytes], /) -> Sequence[Record | None]:
        """Return each document's record, equal to the mapped one; None for a document that must be decoded and mapped.

        No value of these records was lost. The result is empty if no document can be mapped this way.
        """


class KeyFault(NamedTuple):
    """Why a document cannot have the key that the plan says."""

    attribute: str
    found: str
    """What the document has there, such as ``is of type N (a number)``."""
    remedy: str
    """What to write in the plan."""


class KeyChecking(ABC):
    """A mapper whose records have keys from fields, so that a wrong key shows before anything is made."""

    KEY_CODE: ClassVar[str]
    """The code of the fault that no document fits the key."""

    @property
    @abstractmethod
    def keys_from_fields(self) -> bool:
        """Whether another field than `_id`, or a type of its own, decides a key; else no document need be looked at."""

    @abstractmethod
    def key_faults(self, document: Document, /) -> Sequence[KeyFault]:
        """Return every fault of the document's keys, not the first alone; raises MappingError for other faults."""


class MapperDeclarations:
    """The declarations of a class of mappers, which inherits this class. The values here are the defaults."""

    use_cases: ClassVar[Sequence[str]] = ()
    """The values of a route's `use_case` that pick this mapper and its target."""
    dates_in_ms: ClassVar[bool] = False
    """True if it takes each date as a DatetimeMS, which is decoded in less time than a datetime."""
    one_record: ClassVar[bool] = False
    """True if it makes exactly one record of each document that it does not reject, so that both can be counted."""
    PLACEMENT: ClassVar[Mapping[str, Any]] = {}
    """Keys of the target's placement that hold for each of its routes."""


class OptionDeclarations:
    """The declarations of a mapper's `Options`, which inherit this class. The values here are the defaults."""

    fidelity: Fidelity = "native"
    """lossless: each record must give back its whole document, and is Restorable."""
    id_encoding: Literal["typed", "plain"] = "typed"
    """plain: `_id` is written without its type, so a run proves first that all are of one kind."""
    expires: Any = None
    """The option of `mappers.expiry`, of a mapper that has one."""

    @property
    def anomalies(self) -> Anomalies | None:
        """The policies for documents that a decoder would change; None if such documents are rejected.

        A mapper that names policies takes the types of `mappers.documents.irregular` as values.
        """
        return None

    def needed(self) -> Iterable[tuple[str, str]]:
        """Yield each option that names a field and the field, for fields without which records would be wrong."""
        return ()

    def field_options(self) -> Iterable[tuple[str, str]]:
        """Yield each option that names a field and the field, needed or not; `check` looks for it in documents."""
        return self.needed()


def declarations(mapper: MapperType | None) -> type[MapperDeclarations]:
    """Return the declarations of a class of mappers; the defaults if it does not inherit MapperDeclarations."""
    kind: object = mapper
    return kind if isinstance(kind, type) and issubclass(kind, MapperDeclarations) else MapperDeclarations


def option_declarations(options: object) -> OptionDeclarations:
    """Return the declarations of options; the defaults if they do not inherit OptionDeclarations."""
    return options if isinstance(options, OptionDeclarations) else OptionDeclarations()


class MapperType(Protocol):
    """The type of an entry point of the group `offramp.mappers`: a class that makes mappers."""

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
        """Take a catalogue code such as ``E-MAP-VALUE``, the field's path, and the reason."""
        super().__init__(code, field, reason)
        self.code = code
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason
