"""What the engine needs of a source and of a target; everything else about a store stays in its module."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from mappers.contract import Loss, LossFields, Record, add_losses


@dataclass(frozen=True, slots=True)
class Partition:
    """A half-open range of one collection in BSON order of `_id`; bounds are BSON ``{"_id": bound}``, None is open."""

    number: int
    lower: bytes | None = None
    upper: bytes | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive documents of a partition in ascending `_id` order, each as its stored BSON bytes."""

    documents: Sequence[bytes]
    position: bytes
    """BSON ``{"_id": last}``: reading again `after` it starts past this batch."""


class Readable(Protocol):
    """What copying a partition needs of a source."""

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in ascending BSON order of `_id`, past the position `after` if given.

        A cursor that dies is reopened after the last document yielded. Raises TransientError when the source stays
        away, PermanentError when it refuses.
        """


class Source(Readable, Protocol):
    """The documents of one route: one collection seen through the route's filter."""

    def check(self) -> Sequence[str]:
        """Return what a person should know before reading; raises PlanError where the collection cannot be read."""

    def identity(self) -> str:
        """Return what tells this collection from another of the same name ("" where the server cannot say)."""

    def count_by_type(self) -> Mapping[str, int]:
        """Return the source's own count of documents per BSON type of `_id` (aliases of ``$type``)."""

    def estimate(self) -> int:
        """Return about how many documents the collection holds, at once; no evidence of anything."""

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return at most so many partitions that are disjoint and cover every document, whatever its `_id` (R105)."""

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return about the middle of what is left of the partition past `after`: a bound past `after`, below its end.

        None where fewer than about `least` documents are left, or where the collection cannot be split.
        """

    def count_by_partition(self, partitions: Sequence[Partition]) -> Sequence[Mapping[str, int]]:
        """Return the source's own count per BSON type of `_id` in each of the partitions, which cover everything.

        The partitions stand in the order of their bounds.
        """

    def sample(self, number: int) -> Sequence[bytes]:
        """Return BSON ``{"_id": id}`` of so many documents, or of all if there are fewer, drawn uniformly, each once.

        A few less where a server draws some twice.
        """

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids (BSON ``{"_id": id}``) that the filter lets through, in any order.

        Any number of ids. A server compares as its index does: asked for 1 it may give the document 1.0, so the bytes
        of a document's own position say which id it has. Errors as `read`.
        """

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later (R102)."""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a stream of changes goes on: past this token, or at this time where there is no token yet."""

    time: int
    """A cluster time, ``seconds << 32 | increment``: no event still to come is older."""
    token: bytes = b""
    """The BSON of a resume token, opaque."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A document that was inserted, changed or deleted, or all of it in turns: what it is now is for a read to say."""

    collection: str
    id: bytes
    """BSON ``{"_id": id}``, as a batch's position."""
    before: Sequence[bytes] = ()
    """What it was before each change, where the stream was asked for it and the server has it."""


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Consecutive changes of a database, each document named once."""

    touched: Sequence[Touched]
    position: StreamPosition
    """Once everything touched is as it should be, the stream goes on from here."""
    events: int
    halts: Mapping[str, str]
    """Collections of which nothing more can be said from this stream (dropped, renamed, …), and what happened."""


class Changes(Protocol):
    """The changes of one database (R101, R120-R124)."""

    def begin(self) -> StreamPosition:
        """Return the position now, with the stream opened there and proven to go on from it (R101)."""

    def follow(
        self,
        collections: Mapping[str, bool],
        since: StreamPosition,
        *,
        until: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[ChangeBatch]:
        """Yield what was touched in these collections, in order, by batches of bounded time and size.

        The value of each collection says whether `before` is wanted. Quiet streams yield empty batches, whose position
        still moves on. Ends once its position has reached `until`, or when `stopping`; never without either.
        Ends also when each of the collections has halted. Of a halting collection a batch names no documents: read
        now, they would look deleted.
        Raises PermanentError E-SRC-HISTORY-LOST where changes between `since` and now can no longer be told (R121).
        """

    def now(self) -> int:
        """Return the source's cluster time, at or after everything it has acknowledged so far."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """Whether a collection's changes can be streamed; by a rescan or a watermark they can be found either way."""

    possible: bool
    reason: str = ""
    """Why not."""
    before_images: bool = False
    """Whether the source keeps what each document was before a change."""
    command: str = ""
    """What grants the stream, or else what makes the source keep those; "" where nothing is missing, or nothing helps.
    """
    window_s: float | None = None
    """How far back the source tells changes now, in seconds; None where it cannot be asked (R121)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record the store refused for good: its place in the list given to `write`, the store's code and reason."""

    index: int
    code: str
    reason: str


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
        r"""What this route alone may use: two routes of a target overlap if one's text begins with the other's.

        A whole name ends with NUL so that no other name begins with it; a key prefix stands open. A text of parts,
        separated by ``\x01``, overlaps another only if each of its parts does.
        """

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if what exists there differs from the plan.

        Writes nothing.
        """

    def prepare(self) -> str:
        """Make the place ready and return its identity: another identity later means it was made anew (R137).

        "" where the store cannot say.
        Raises PlanError if something else stands there.
        """

    def write(self, records: Sequence[R], /) -> Sequence[Rejected]:
        """Every record is held, replacing what stood at its address, or is in the answer (R45, R62, R79).

        Any number of records; split by the store's own limits. Raises TransientError after its own retries, and then
        any part of the records may be held.
        """

    def delete(self, addresses: Sequence[str], /) -> None:
        """Nothing is held at these addresses."""

    def read(self, addresses: Sequence[str], /) -> Mapping[str, R]:
        """Return the records held at these addresses, as of now (strong reads); an absent one is not in the answer."""

    def close(self) -> None:
        """Release connections."""


@runtime_checkable
class Listable(Protocol):
    """A target that can name all it holds, so that verification finds what should not be there."""

    def addresses(self) -> Iterator[str]:
        """Yield every address the place holds, at least once each."""


@runtime_checkable
class Divided(Protocol):
    """A target whose listing can be divided among workers."""

    def addresses_of(self, share: int, shares: int, /) -> Iterator[str]:
        """Yield every address of one share of the place; all shares together are what `addresses` yields."""


@runtime_checkable
class Countable(Protocol):
    """A target whose store counts what the place holds, exactly and as of now, sooner than it could list it."""

    def count(self) -> int | None:
        """Return how many addresses `addresses` would yield; None where only listing tells."""


@runtime_checkable
class Prompt(Protocol):
    """A target that sends many small requests, and sees how long their answers take."""

    @property
    def prompt(self) -> bool:
        """Whether they come so soon that calling it in another thread costs more than waiting for them."""


@runtime_checkable
class Removable(Protocol):
    """A target whose place is taken away as a whole: of scratch areas alone."""

    def remove(self) -> None:
        """The place is gone, with all it holds."""


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
        stopping: Callable[[], bool],
        /,
    ) -> None:
        """The place holds the records staged, which are so many, and is as planned; loading twice is loading once.

        `memory` is what `keep` was last told by this run or one before it, nothing at first. `loaded` hears of so many
        more records. Raises TransientError where the same call goes on later.
        """

    def held(self, memory: Mapping[str, Any], /) -> bool:
        """Whether a load has ended by what it remembers, well or not, so that there is something to verify."""


@runtime_checkable
class Loadable(Protocol[S]):
    """A target that may fill its place by one load instead of record by record."""

    @property
    def staging(self) -> Staging[S] | None:
        """Where a backfill puts this route's records; None where it writes them."""


def staging_of(target: Target[R]) -> Staging[R] | None:
    """Return where a backfill puts the target's records, None where it writes them."""
    return target.staging if isinstance(target, Loadable) else None


@runtime_checkable
class Plannable(Protocol):
    """A target whose place follows a design: the mapper's wishes, completed by what the server has to say.

    The design is JSON data, made once for a run and remembered: resuming and verifying follow the same.
    """

    @property
    def mapped(self) -> bool:
        """Whether the plan says itself how the place is made, so that no document need be looked at first."""

    def design(self, wishes: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the whole design; writes nothing. Raises PlanError where the server leaves no room for it."""

    def follow(self, design: Mapping[str, Any], /) -> None:
        """The place is the one of this design from now on; called before `prepare`, and before any use of it."""


@runtime_checkable
class Measurable(Protocol):
    """A target whose room is limited, so that what a route will take is measured before it is filled."""

    def limited(self) -> bool:
        """Whether its room has a limit, so that measuring is worth while."""

    def measure(self, records: Sequence[Any], times: float, beside: Mapping[str, int], /) -> tuple[str, int]:
        """Return the place that fills and the bytes that so many times these records will take of it.

        `beside` says what other routes of the run will take of each place. Leaves nothing behind; raises PlanError if
        there is no room for all of it.
        """


@runtime_checkable
class Publishable(Protocol):
    """A target whose place is out of its readers' sight until it is published."""

    def publish(self) -> str:
        """Readers see the place, in one step; returns where it stands, for the report. Publishing twice is once."""


@runtime_checkable
class Tunable(Protocol):
    """A target that serves a load with other settings than its readers."""

    def restore(self) -> None:
        """Nothing is set for the load alone any more, whichever run set it; asked after each run, however it ended."""


@runtime_checkable
class Auditable(Protocol):
    """A target that can hold every record as written and yet not serve it as the plan says."""

    def audit(self) -> Sequence[str]:
        """Return every reason why it does not, for verification; writes nothing."""


@runtime_checkable
class Converting(Protocol):
    """A target whose server changes records as it takes them in, in a way it can be asked for."""

    def converted(self, records: Sequence[Any], /) -> Sequence[Record]:
        """Return what is held once these are written, in their order, for verification; writes nothing.

        A record that the server would not take has one in its place that nothing held is equal to.
        """


@dataclass(slots=True)
class Tally:
    """What became of a run of documents; the parts add up: read = dropped + rejected + copied."""

    read: int = 0
    dropped: int = 0
    rejected: int = 0
    copied: int = 0
    records: int = 0
    """Records the target acknowledged."""
    id_types: Counter[str] = field(default_factory=Counter)
    """Documents read per BSON type of `_id`."""
    losses: Counter[str] = field(default_factory=Counter)
    """Values not held exactly, by kind."""
    lost: LossFields = field(default_factory=dict)
    """The same by field and kind, with examples."""
    accepted: int = 0
    """Of the rejected documents, those that a person has accepted; only a verification asks."""
    sizes: Counter[int] = field(default_factory=Counter, compare=False)
    """Documents read by the bits of their size in bytes: 11 for 1,024 to 2,047."""

    def add(self, other: Tally) -> None:
        """Count the other's documents too."""
        self.read += other.read
        self.dropped += other.dropped
        self.rejected += other.rejected
        self.copied += other.copied
        self.records += other.records
        self.accepted += other.accepted
        self.id_types += other.id_types
        self.losses += other.losses
        add_losses(self.lost, other.lost)
        self.sizes += other.sizes

    def to_json(self) -> str:
        """Return the tally as JSON."""
        kept = {name: getattr(self, name) for name in self.__slots__}
        kept["lost"] = [[*key, loss.count, loss.examples] for key, loss in self.lost.items()]
        return json.dumps(kept)

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Return the tally that `to_json` wrote."""
        kept: dict[str, Any] = json.loads(text)
        for name in ("id_types", "losses"):
            kept[name] = Counter(kept.get(name, {}))
        kept["sizes"] = Counter({int(bits): count for bits, count in kept.get("sizes", {}).items()})
        kept["lost"] = {(path, kind): Loss(count, ids) for path, kind, count, ids in kept.get("lost", ())}
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Reject:
    """A document that could not be mapped or written; it is named, never shown."""

    id: str
    """The typed text of its `_id`."""
    stage: str
    """decode, transform, map or write."""
    code: str
    field: str
    reason: str
    document: bytes = dataclasses.field(default=b"", repr=False, compare=False)
    """Its BSON as it was stored: names it exactly, and is kept itself only where the plan allows it."""


class Journal(Protocol):
    """One route's checkpoints, as the run that holds the route's lease may write them."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise. Asked before every batch (R48, R134)."""

    def checkpoint(
        self, number: int, position: bytes | None, tally: Tally, rejects: Sequence[Reject] = (), *, done: bool = False
    ) -> None:
        """The partition stands at `position`, with its batch's counts and rejects: all of it or nothing (R131).

        Call only when every record up to `position` is acknowledged; None leaves the position as it was.
        """


class Mending(Protocol):
    """One route's rejects, as the run that holds the route's lease may change them."""

    def ensure(self) -> None:
        """Return only while this run may write; raises LeaseLost otherwise."""

    def mend(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        """Of the documents with these ids (typed texts) exactly these rejects are on record: all of it or nothing.

        Call only when every record of theirs is acknowledged, and what they no longer have is deleted (R140).
        """


class TargetType(Protocol):
    """What an entry point of the group `offramp.targets` names: a class that makes targets."""

    Connection: ClassVar[type]
    """A dataclass: the keys of ``targets.<name>`` in the plan."""
    Placement: ClassVar[type]
    """A dataclass: the keys a route may give this target."""

    def __call__(self, connection: Any, placement: Any, route: str, /) -> Target[Any]:
        """Return the target of one route, without connecting; raises ValueError for options it cannot serve."""
