"""What the engine needs of a source and of a target; everything else about a store stays in its module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mappers.contract import Record
from stores.contract.fence import Fence
from stores.contract.stop import Stop


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record the store refused for good: its place in the list given to `write`, the store's code and reason."""

    index: int
    code: str
    reason: str
    field: str = ""
    """The path of the field that the store names, "" if it names none."""


R = TypeVar("R", bound=Record)


class Target(Protocol[R]):
    """A place in a store that holds one route's records.

    Laws: read(write(r)) == r; writing twice is writing once; the last write to an address wins; deleted is absent.
    `write`, `delete` and `read` may be called from several threads at once.
    """

    @property
    def records(self) -> tuple[type[R], ...]:
        """The record types it holds; any other is a fault of the mapper."""

    @property
    def territory(self) -> str:
        r"""The part of the store that only this route may use: two routes overlap if one text begins with the other.

        A whole name ends with NUL so that no other name begins with it; a key prefix has no such end. A text of
        several parts, separated by ``\x01``, overlaps another text only if each of its parts does.
        """

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if what exists there differs from the plan.

        Writes nothing.
        """

    def prepare(self) -> str:
        """Make the place ready and return its identity: another identity later means that it was made anew (R137).

        Returns "" where the store has no identity to give.
        Raises PlanError if the place is taken by something else.
        """

    def write(self, records: Sequence[R], /) -> Sequence[Rejected]:
        """Write the records, each replacing what its address held; return those the store refused (R45, R62, R79).

        Takes any number of records and splits them by the store's own limits. Raises TransientError after its own
        retries; any part of the records may then be written.
        """

    def delete(self, addresses: Sequence[str], /) -> None:
        """Delete what these addresses hold; an address that holds nothing is no error."""

    def read(self, addresses: Sequence[str], /) -> Mapping[str, R]:
        """Return the records at these addresses, as of now (strong reads); an absent record is not in the answer."""

    def close(self) -> None:
        """Release connections."""


class Fenced(ABC):
    """A target that looks at the fence of its run right before each request that changes its place.

    Without it the fence is looked at before each call of `write` and `delete` only, whatever they take.
    """

    @abstractmethod
    def set_fence(self, fence: Fence, /) -> None:
        """Look at this fence from now on, before each request that changes the place and after each wait.

        Its LeaseLost leaves the call that made the request. Called before any use that changes the place.
        """


class Describable(ABC):
    """A target that says, for a report, where its records are and which server has them."""

    @abstractmethod
    def describe_place(self) -> str:
        """Return where the route's records are, such as ``table orders``; asks no server."""

    @abstractmethod
    def describe_server(self) -> str:
        """Return what the server says of itself, such as ``Redis 7.2.4``; raises an OfframpError soon if it is away."""


class Listable(ABC):
    """A target that can name all it holds, so that verification finds what should not be there."""

    lists_once: ClassVar[bool] = False
    """Whether it yields no address twice, whatever happens meanwhile; else verification may list twice."""

    @abstractmethod
    def addresses(self) -> Iterator[str]:
        """Yield every address the place holds, at least once each."""


class Relisting(ABC):
    """A target whose listing may have to begin anew under way."""

    @abstractmethod
    def addresses_anew(self, anew: Callable[[], object], /) -> Iterator[str]:
        """Yield what `addresses` yields; calls `anew` where the listing begins anew and yields all addresses again."""


class Divided(ABC):
    """A target whose listing can be divided among workers."""

    @abstractmethod
    def addresses_of(self, share: int, shares: int, /) -> Iterator[str]:
        """Yield every address of one share of the place; all shares together are what `addresses` yields."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a route's records go, as its server says."""

    server: str
    """Product, version and address, without a login."""
    name: str
    """What the place is called, such as ``table orders``."""
    exists: bool | None
    """Whether it is there; None where a place has no existence of its own, such as a prefix of keys."""
    asked: Sequence[str]
    """The requests that the server answered, by which the login may make them."""


class Remakable(ABC):
    """A target whose place is made with keys for good, so that another key needs another place."""

    @property
    @abstractmethod
    def made(self) -> bool:
        """Whether this target's own `prepare` made the place."""

    @abstractmethod
    def obsolete(self) -> str | None:
        """Return the identity of a place that is there and empty, but has other keys than the plan; else None.

        Whether it is empty is read, with strong reads. Writes nothing.
        """

    @abstractmethod
    def remove(self) -> None:
        """Remove the place with all it holds."""


class Identified(ABC):
    """A target that tells the identity of its place without making the place."""

    @abstractmethod
    def identity(self) -> str | None:
        """Return what `prepare` would return of the place as it is, None where there is none; writes nothing.

        Raises PlanError as `prepare` does.
        """


class Inspectable(ABC):
    """A target that can say what is at its place before anything is written."""

    @abstractmethod
    def inspect_place(self) -> Place:
        """Return what the server says of the place; writes nothing. Raises as `check` does."""


class Countable(ABC):
    """A target whose store counts what the place holds, exactly and as of now, sooner than it could list it."""

    @abstractmethod
    def count(self) -> int | None:
        """Return how many addresses `addresses` would yield; None where only listing tells."""


class Prompt(ABC):
    """A target that sends many small requests, and sees how long their answers take."""

    @property
    @abstractmethod
    def prompt(self) -> bool:
        """Whether they come so soon that calling it in another thread costs more than waiting for them."""


class Removable(ABC):
    """A target whose place is taken away as a whole: of scratch areas alone."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the place with all it holds."""


S = TypeVar("S", bound=Record, contravariant=True)


class Staging(Protocol[S]):
    """Where a route's records wait until the store loads all of them at once, into a place that the load makes."""

    def vacant(self) -> None:
        """Return if the load could make its place; raises PlanError if it is taken. Asked before a route begins."""

    def clear(self) -> None:
        """Nothing is staged."""

    def trim(self, partition: int, first: int, /) -> None:
        """Nothing is staged of the partition from this document on, by number from 0; asked before copying goes on."""

    def stage(self, records: Sequence[S], partition: int, first: int, /) -> Sequence[Rejected]:
        """Every record of the batch that begins with this document is staged, or is in the answer.

        Doing a batch again replaces what it staged before. Called from several threads at once.
        """

    def load(
        self,
        records: int,
        memory: Mapping[str, Any],
        keep: Callable[[Mapping[str, Any]], None],
        loaded: Callable[[int], None],
        stop: Stop,
        /,
    ) -> None:
        """Load the staged records, `records` of them, into the place; loading twice is loading once.

        `memory` is what this run or an earlier one last passed to `keep`, empty at first. `loaded` is called with the
        number of records loaded since its last call. Raises TransientError if the same call can go on later.
        """

    def held(self, memory: Mapping[str, Any], /) -> bool:
        """Whether a load has ended by what it remembers, well or not, so that there is something to verify."""


class Loadable(ABC, Generic[S]):
    """A target that may fill its place by one load instead of record by record."""

    @property
    @abstractmethod
    def staging(self) -> Staging[S] | None:
        """Where a backfill puts this route's records; None where it writes them."""


def staging_of(target: Target[R]) -> Staging[R] | None:
    """Return where a backfill puts the target's records, None where it writes them."""
    return target.staging if isinstance(target, Loadable) else None


class Plannable(ABC):
    """A target whose place follows a design: the mapper's wishes, completed by what the server has to say.

    The design is JSON data, made once for a run and remembered: resuming and verifying follow the same.
    """

    @property
    @abstractmethod
    def mapped(self) -> bool:
        """Whether the plan says itself how the place is made, so that no document need be looked at first."""

    @abstractmethod
    def design(self, wishes: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the whole design; writes nothing. Raises PlanError where the server leaves no room for it."""

    @abstractmethod
    def follow(self, design: Mapping[str, Any], /) -> None:
        """Use the place of this design from now on; called before `prepare` and before any other use."""


class Measurable(ABC):
    """A target whose room is limited, so that what a route will take is measured before it is filled."""

    @abstractmethod
    def limited(self) -> bool:
        """Return whether the room has a limit, so that measuring is worth while."""

    @abstractmethod
    def measure(self, records: Sequence[Any], times: float, beside: Mapping[str, int], /) -> tuple[str, int]:
        """Return the place that fills, and the bytes that `times` times these records will take of it.

        `beside` has the bytes that other routes of the run will take of each place. Leaves nothing behind but what
        `leftovers` names. Raises PlanError if there is no room for all of it.
        """

    def leftovers(self) -> Sequence[str]:
        """Return what measuring left behind as the store refused to remove it, a sentence each, for the report."""
        return ()


class Publishable(ABC):
    """A target whose place is out of its readers' sight until it is published."""

    @abstractmethod
    def publish(self) -> str:
        """Show the place to its readers, in one step; return its public name, for the report."""


class Tunable(ABC):
    """A target that serves a load with other settings than its readers."""

    @abstractmethod
    def restore(self) -> None:
        """Undo the settings for the load, whichever run made them; called after each run, however it ended."""


class Auditable(ABC):
    """A target that can hold every record as written and yet not serve it as the plan says."""

    @abstractmethod
    def audit(self) -> Sequence[str]:
        """Return every reason why it does not, for verification; writes nothing."""


class Relocatable(ABC):
    """A target that knows its server again at another address."""

    @abstractmethod
    def recognize(self, design: Mapping[str, Any], /) -> Mapping[str, Any] | None:
        """Return the place's design with what tells its server from now on.

        None where nothing shows that this server is the one that the design was made on, or took its place with all
        that it held. Raises TransientError while it does not answer; writes nothing.
        """


class Converting(ABC):
    """A target whose server changes records as it takes them in, in a way it can be asked for."""

    @abstractmethod
    def converted(self, records: Sequence[Any], /) -> Sequence[Record]:
        """Return the records as the server keeps them once written, in their order, for verification; writes nothing.

        In place of a record that the server would refuse, returns a record that equals nothing the server can keep.
        """


@dataclass(frozen=True, slots=True)
class ScratchArea:
    """A small place for a short time."""

    mapper: str
    """The mapper whose records go there."""
    keys: Mapping[str, str]
    """The keys of a route that name the place."""


class ScratchAreas(ABC):
    """A target that verification can prove itself on: it plants known damage in an area and must find it (R162)."""

    @classmethod
    @abstractmethod
    def scratch_areas(cls, name: str, /) -> Sequence[ScratchArea]:
        """Return areas that nothing else uses, given a name that nothing else has; makes none of them.

        One for each kind of record that verification reads in its own way.
        """


ABILITIES: tuple[type, ...] = (
    Auditable,
    Converting,
    Countable,
    Describable,
    Divided,
    Fenced,
    Identified,
    Inspectable,
    Listable,
    Loadable,
    Measurable,
    Plannable,
    Prompt,
    Publishable,
    Relisting,
    Remakable,
    Removable,
    ScratchAreas,
    Tunable,
)
"""What a target may be able to do beside what every target does. A target has an ability by inheriting it."""


def undeclared(target_type: type) -> Sequence[str]:
    """Return what a class of targets has of an ability without inheriting it, a sentence for each such ability.

    Inheriting alone counts: a method `count` may count something else, and nobody would ask for a listing in vain.
    """
    sentences: list[str] = []
    for ability in ABILITIES:
        names: frozenset[str] = ability.__abstractmethods__  # type: ignore[attr-defined]
        if not issubclass(target_type, ability) and all(hasattr(target_type, name) for name in names):
            sentences.append(
                f"{target_type.__name__} has {' and '.join(f'`{name}`' for name in sorted(names))} as a target that is"
                f" {ability.__name__}, but does not inherit it; write class {target_type.__name__}({ability.__name__}),"
                f" from stores.contract, or choose another name"
            )
    return sentences


def unfinished(target_type: type) -> Sequence[str]:
    """Return the names that a class of targets lacks of the abilities that it inherits."""
    return sorted(getattr(target_type, "__abstractmethods__", ()))


class TargetType(Protocol):
    """What an entry point of the group `offramp.targets` names: a class that makes targets.

    The class may also have two frozen sets of `Placement`'s keys. `REPEATED` are keys that repeat a mapper's own: they
    are refused beside a mapper without them. `BUILT_IN` are keys that are refused beside the user's own mapper.
    """

    Connection: ClassVar[type]
    """A dataclass: the keys of ``targets.<name>`` in the plan."""
    Placement: ClassVar[type]
    """A dataclass: the keys a route may give this target."""

    def __call__(self, connection: Any, placement: Any, route: str, /) -> Target[Any]:
        """Return the target of one route, without connecting; raises ValueError for options it cannot serve."""
