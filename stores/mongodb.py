"""MongoDB as the source: collections split and read in BSON order of `_id`, whatever its types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import bson
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred
from pymongo.uri_parser import split_options

from mappers.decoding import CODEC, documents, position
from mappers.expiry import IndexExpires
from stores.ceilings import Ceilings, Window, ceilings
from stores.contract import Batch, Partition
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.mongodb_facts import Facts, facts
from stores.mongodb_ids import Ids, bound_of, position_of, typed_of
from stores.mongodb_ttl import ttl_notes, ttl_rule
from stores.pacing import pace
from stores.retrying import Backoff

_BATCH_DOCUMENTS = 1000
_BATCH_BYTES = 1 << 20
_SAMPLES_PER_PARTITION = 20
_SAMPLES_PER_COLLECTION = 1_000
_NAMES = 20
_STALENESS_S = 90
_PREFERENCES = {
    "primary": Primary,
    "primaryPreferred": PrimaryPreferred,
    "secondary": Secondary,
    "secondaryPreferred": SecondaryPreferred,
    "nearest": Nearest,
}
# Server answers after which the same read may succeed: a killed cursor or operation, a fail-over, a moved chunk (R108).
_TRANSIENT_CODES = frozenset(
    {6, 7, 43, 63, 64, 89, 91, 133, 134, 150, 175, 189, 202, 237, 262, 290, 317}
    | {9001, 10107, 11600, 11601, 11602, 13388, 13435, 13436}
)
_AUTH_CODES = frozenset((13, 18, 8000))

Preference = Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]


@dataclass(frozen=True)
class Connection:
    """The keys of `source` in the plan."""

    uri: str
    """MongoDB connection string."""
    database: str
    """The database whose collections are moved."""
    read_preference: Preference = "primary"
    """Which members are read; secondaries may lag behind what the application has just written."""
    retry_deadline_s: float = 120
    """How long a source that does not answer is asked again before the run stops."""
    max_read_rate: float | None = None
    """Documents a second that a run reads at the most, over all routes."""
    windows: Sequence[Window] = ()
    """Hours of the day with a ceiling of their own, their `max_rate`, in place of this one."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse ceilings that cannot be kept."""
        self.ceilings()

    def ceilings(self) -> Ceilings:
        """Return how fast the source may be read."""
        return ceilings(self.windows, self.time_zone, name="max_read_rate", max_rate=self.max_read_rate)


class MongoDB:
    """One database, read at majority read concern where it has a replica set."""

    def __init__(self, connection: Connection) -> None:
        """Connect lazily; raises PlanError for a connection string that is none."""
        self._connection = connection
        _check_options(connection.uri)
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                connection.uri,
                document_class=dict,
                appname="offramp",
                connect=False,
                serverSelectionTimeoutMS=int(1000 * max(0.1, min(10, connection.retry_deadline_s))),
                connectTimeoutMS=10_000,
                socketTimeoutMS=120_000,
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise PlanError(
                "E-SRC-URI", f"source.uri is no MongoDB connection string: {type(error).__name__}"
            ) from None

    def source(self, collection: str, where: Mapping[str, Any] | None = None) -> CollectionSource:
        """Return the documents of one collection that match the filter, all of them without one."""
        return CollectionSource(self._client, self._connection, collection, where or {})

    def facts(self, collections: Iterable[str]) -> Facts:
        """Return what the server says of itself and of the unique indexes of these collections."""
        with _translated("of the source"):
            return facts(self._client, self._connection.database, collections)

    def close(self) -> None:
        """Release connections."""
        self._client.close()


class CollectionSource:
    """One collection or view behind the contract `stores.contract.Source`."""

    def __init__(
        self,
        client: MongoClient[dict[str, Any]],
        connection: Connection,
        collection: str,
        where: Mapping[str, Any],
    ) -> None:
        """Bind the names; nothing is asked of the server yet."""
        self._client = client
        self._connection = connection
        self._name = collection
        self._where = where
        self._described: _Described | None = None
        self.pace = pace("the source", connection.ceilings(), connection.uri)

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for a collection that is absent or cannot be read.

        The filter is tried: an operator the server does not know must not be found out after the target was made.
        """
        described = self._describe()
        if self._where:
            self._try_filter()
        notes = [*ttl_notes(self._name, described.indexes)]
        if described.kind == "view":
            notes.append(f"{self._name} is a view: read in one partition, and it cannot be synced")
        if described.capped:
            notes.append(f"{self._name} is capped: read in one partition; what rolls off while it is read is reported")
        if not described.replicated:
            notes.append("the source is a standalone server: it has no majority read concern and cannot be synced")
        return notes

    def _try_filter(self) -> None:
        try:
            with _translated(self._name):
                self._collection().find_one(self._where, projection=["_id"])
                # Counting needs it as a stage, which takes less than a query: not $where, $near or $text.
                self._collection().aggregate([{"$match": self._where}, {"$limit": 1}]).close()
        except PermanentError as error:
            raise PlanError("E-SRC-WHERE", f"the filter `where` cannot be used: {error.message}") from error

    def expiry(self) -> IndexExpires:
        """Return when the collection's TTL indexes delete its documents; raises PlanError without such a rule."""
        described = self._describe()
        return ttl_rule(self._name, described.kind, described.indexes)

    def identity(self) -> str:
        """Return the collection's UUID, which changes when it is dropped and made again ("" for servers without).

        A view is what it is defined as.
        """
        return self._describe().uuid

    def count_by_type(self) -> Mapping[str, int]:
        """Return the source's own count per BSON type of `_id`, by an aggregation that reads every `_id` (R157)."""
        pipeline: list[Mapping[str, Any]] = [{"$match": self._where}] if self._where else []
        pipeline.append({"$group": {"_id": {"$type": "$_id"}, "documents": {"$sum": 1}}})
        with _translated(self._name), closing(self._collection().aggregate(pipeline, allowDiskUse=True)) as rows:
            return {str(row["_id"]): int(row["documents"]) for row in rows}

    def estimate(self) -> int:
        """Return the collection's metadata count, all documents for a filter, 0 for a view."""
        if self._describe().kind == "view":
            return 0
        with _translated(self._name):
            return int(self._collection().estimated_document_count())

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return at most so many partitions with bounds from a random sample, sorted by the server (R105, R107).

        Bounds only balance the work: whatever they are, the partitions are disjoint and cover everything.
        """
        described = self._describe()
        if partitions <= 1 or described.kind == "view" or described.capped:
            return [Partition(0)]
        pipeline: list[Mapping[str, Any]] = [{"$match": self._where}] if self._where else []
        pipeline += [
            {"$sample": {"size": partitions * _SAMPLES_PER_PARTITION}},
            {"$project": {"_id": 1}},
            {"$sort": {"_id": 1}},
        ]
        with _translated(self._name), closing(self._raw(pipeline)) as chunks:
            sampled = [position_of(self._name, raw) for chunk in chunks for raw in documents(chunk)]
        step = len(sampled) / partitions
        quantiles = [sampled[int(step * number)] for number in range(1, partitions)] if sampled else []
        # By the typed text: on shards 1 and 1.0 may both stand, and a server takes no range that begins where it ends.
        distinct: dict[str, bytes] = {}
        for bound in quantiles:
            with suppress(PermanentError):  # An _id that cannot be decoded bounds nothing.
                distinct.setdefault(typed_of(self._name, bound), bound)
        bounds = list(distinct.values())
        return [
            Partition(number, lower, upper)
            for number, (lower, upper) in enumerate(zip([None, *bounds], [*bounds, None], strict=True))
        ]

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return the median of a random sample of what is left past `after`; None where too little is.

        The sample is of the whole collection, without the filter, so that no server reads all that matches; it is the
        server that compares `_id`s of mixed types.
        """
        described = self._describe()
        if described.kind == "view" or described.capped:
            return None
        within = [{"$gt": ["$_id", {"$literal": bound_of(self._name, after)}]}]
        if partition.upper is not None:
            within.append({"$lt": ["$_id", {"$literal": bound_of(self._name, partition.upper)}]})
        pipeline: list[Mapping[str, Any]] = [
            {"$sample": {"size": _SAMPLES_PER_COLLECTION}},
            {"$project": {"_id": 1}},
            {"$match": {"$expr": {"$and": within}}},
            {"$sort": {"_id": 1}},
        ]
        with _translated(self._name), closing(self._raw(pipeline)) as chunks:
            found = [position_of(self._name, raw) for chunk in chunks for raw in documents(chunk)]
        if not found or len(found) * max(1, self.estimate() / _SAMPLES_PER_COLLECTION) < least:
            return None
        at = found[len(found) // 2]
        # By the typed text, as in `split`: a range must not begin where it ends.
        ends = [after] if partition.upper is None else [after, partition.upper]
        return None if typed_of(self._name, at) in {typed_of(self._name, end) for end in ends} else at

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in ascending BSON order of `_id`, past the position `after` if given."""
        last = after
        backoff: Backoff | None = None
        ids = Ids(self._name, self._describe().unique_ids, after)
        expected = self._batch_documents()
        bounds = [typed_of(self._name, bound) for bound in (partition.lower, partition.upper) if bound is not None]
        if len(bounds) == 2 and bounds[0] == bounds[1]:
            return  # Half-open, so empty; a server refuses to be asked for it.
        while True:
            cursor: Any = None
            try:
                with _translated(self._name):
                    cursor = self._cursor(partition, last)
                resumed_at = last
                while True:
                    turn = self.pace.ask(expected)
                    if backoff is not None:
                        backoff.extend(turn.waited_s)
                    with _translated(self._name):
                        chunk = next(cursor, None)
                    found = documents(chunk) if chunk is not None else []
                    self.pace.pacer.give_back(expected - len(found))
                    if chunk is None:
                        return
                    if resumed_at is not None:
                        # The bound is inclusive, as index bounds are: the document itself was read before (R104, R132).
                        if found and position(found[0]) == resumed_at:
                            del found[0]
                        resumed_at = None
                    if found:
                        backoff = None  # Only a new document is progress: the one at the bound comes every time.
                        last = ids.last(found)
                        yield Batch(found, last)
            except TransientError:
                backoff = backoff or Backoff(self._connection.retry_deadline_s)
                if not backoff.wait():
                    raise
            finally:
                if cursor is not None:
                    cursor.close()

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids that the filter lets through, in any order."""
        wanted: Mapping[str, Any] = {"_id": {"$in": [bound_of(self._name, at) for at in ids]}}
        where = {"$and": [wanted, self._where]} if self._where else wanted
        with _translated(self._name):
            chunks: Any = self._collection().find_raw_batches(where)
            return [raw for chunk in chunks for raw in documents(chunk)]

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later."""
        raise NotImplementedError

    def _raw(self, pipeline: Sequence[Mapping[str, Any]]) -> Any:
        return self._collection().aggregate_raw_batches(pipeline)

    def _cursor(self, partition: Partition, after: bytes | None) -> Any:
        described = self._describe()
        collection = self._collection()
        lower = after if after is not None else partition.lower
        if described.kind == "view":
            # Index bounds need an index, which a view has not; $expr compares across types where a plain $gte would
            # only match the bound's own type (R104).
            bounds: list[Mapping[str, Any]] = []
            if lower is not None:
                bounds.append({"$gte": ["$_id", {"$literal": bound_of(self._name, lower)}]})
            where = {"$and": [self._where, {"$expr": {"$and": bounds}}]} if bounds else self._where
            return collection.find_raw_batches(
                where, sort=[("_id", 1)], batch_size=self._batch_documents(), allow_disk_use=True
            )
        cursor = collection.find_raw_batches(
            self._where, sort=[("_id", 1)], hint=[("_id", 1)], batch_size=self._batch_documents()
        )
        if lower is not None:
            cursor = cursor.min([("_id", bound_of(self._name, lower))])
        if partition.upper is not None:
            cursor = cursor.max([("_id", bound_of(self._name, partition.upper))])
        return cursor

    def _batch_documents(self) -> int:
        """Return how many documents are asked for at once: under a ceiling no more than it allows in a second."""
        described = self._describe()
        most = _BATCH_DOCUMENTS if described.kind == "view" else described.batch_documents
        return int(min(most, max(2, self._connection.ceilings().least)))

    def _collection(self) -> Collection[dict[str, Any]]:
        described = self._describe()
        preference = _PREFERENCES[self._connection.read_preference]
        if self._connection.read_preference == "primary":
            chosen: Any = Primary()
        else:
            chosen = preference(max_staleness=_STALENESS_S) if described.replicated else preference()
        return self._client[self._connection.database].get_collection(
            self._name,
            codec_options=CODEC,
            read_preference=chosen,
            read_concern=ReadConcern("majority" if described.replicated else "local"),
        )

    def _describe(self) -> _Described:
        if self._described is None:
            backoff = Backoff(min(self._connection.retry_deadline_s, 15))
            while self._described is None:
                try:
                    with _translated(self._name):
                        self._described = self._ask()
                except TransientError:
                    if not backoff.wait():
                        raise
        return self._described

    def _ask(self) -> _Described:
        database = self._client[self._connection.database]
        hello = self._client.admin.command("hello")
        sharded = hello.get("msg") == "isdbgrid"
        infos = {info["name"]: info for info in database.list_collections()}
        info = infos.get(self._name)
        if info is None:
            raise PlanError(
                "E-SRC-COLLECTION",
                f"database {self._connection.database!r} has no collection {self._name!r}; it has: {_some(infos)}",
            )
        kind = info.get("type", "collection")
        if kind == "timeseries" or "timeseries" in info.get("options", {}):
            raise PlanError(
                "E-SRC-TIMESERIES",
                f"{self._name!r} is a time-series collection: its _id is not unique, so its documents cannot be told"
                " apart or proven; copy it into an ordinary collection first",
            )
        uuid = info.get("info", {}).get("uuid")
        if kind == "view":
            uuid = blake2b(bson.encode(info.get("options", {})), digest_size=16).digest()
        average = 0
        indexes: list[Mapping[str, Any]] = []
        if kind == "collection":
            indexes = list(database[self._name].list_indexes())
            average = int(database.command("collStats", self._name).get("avgObjSize") or 0)
        return _Described(
            kind=kind,
            indexes=indexes,
            capped=bool(info.get("options", {}).get("capped")),
            uuid="" if uuid is None else bytes(uuid).hex(),
            replicated=sharded or "setName" in hello,
            unique_ids=kind == "collection" and not sharded,
            # Two at least: a batch that begins at the bound brings one document already read.
            batch_documents=max(2, min(_BATCH_DOCUMENTS, _BATCH_BYTES // average)) if average else _BATCH_DOCUMENTS,
        )


@dataclass(frozen=True, slots=True)
class _Described:
    """What the server says of a collection."""

    kind: str
    indexes: Sequence[Mapping[str, Any]]
    capped: bool
    uuid: str
    replicated: bool
    unique_ids: bool
    batch_documents: int


def _some(infos: Iterable[str]) -> str:
    names = sorted(name for name in infos if not name.startswith("system."))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return (", ".join(names[:_NAMES]) or "none") + more


def _check_options(uri: str) -> None:
    # The driver only warns of an option it does not understand: `tls=ture` would read without TLS.
    options = uri.partition("?")[2]
    if "@" in options:
        raise PlanError("E-SRC-URI", "source.uri has an @ after a ?; write a ? within a password as %3F")
    for option in filter(None, options.split("&")):
        try:
            split_options(option)
        except (InvalidURI, ConfigurationError, ValueError):
            name = option.partition("=")[0]
            raise PlanError(
                "E-SRC-URI", f"source.uri has the option {name!r}, unknown or with a value it does not take; correct it"
            ) from None


def _translated(collection: str) -> AbstractContextManager[None]:
    return _translating(lambda error: _translate(collection, error))


@contextmanager
def _translating(translate: Callable[[PyMongoError], OfframpError]) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise translate(error) from error


def _translate(collection: str, error: PyMongoError) -> OfframpError:
    """Return the error by who must act; what is unknown needs a person."""
    name = type(error).__name__
    if isinstance(error, CursorNotFound | AutoReconnect | ExecutionTimeout | WaitQueueTimeoutError | ConnectionFailure):
        return TransientError("E-SRC-AWAY", f"reading {collection!r}: the source does not answer ({name})")
    if isinstance(error, OperationFailure):
        code = error.code or 0
        if code in _TRANSIENT_CODES:
            return TransientError("E-SRC-AWAY", f"reading {collection!r}: the source interrupted the read ({code})")
        if code in _AUTH_CODES:
            return PermanentError(
                "E-SRC-AUTH",
                f"reading {collection!r}: the source's user may not (code {code}); it needs the role read there",
            )
        known = (error.details or {}).get("codeName", "no name")
        return PermanentError("E-SRC-REFUSED", f"reading {collection!r}: the source refused the read ({known}, {code})")
    return PermanentError("E-SRC-FAILED", f"reading {collection!r}: {name}")
