"""MongoDB as the source: collections split and read in BSON order of `_id`, whatever its types."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred

from mappers.documents.decoding import CODEC, documents, position
from mappers.expiry import IndexExpires
from stores.contract.changes import Streaming
from stores.contract.source import Batch, Partition
from stores.errors import PermanentError, PlanError
from stores.mongodb import partitioning
from stores.mongodb.change_stream import timestamp
from stores.mongodb.client import Client
from stores.mongodb.configuration import LIMITS, STALENESS_S, Connection, Limits
from stores.mongodb.errors import translated
from stores.mongodb.flavour import Flavour
from stores.mongodb.ids import Ids, bound_of, position_of, typed_of
from stores.mongodb.metadata import CollectionMetadata, described
from stores.mongodb.sync_support import StreamAccess, streaming
from stores.mongodb.ttl_indexes import ttl_notes, ttl_rule, unique_notes
from stores.throttling.backoff import TIMING, Backoff, Timing, retry, retry_each
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Paced, pace

_DESCRIBE_DEADLINE_S = 15.0
_ANSWER_BYTES = 16 << 20
"""What an answer of a server has at most."""
_PREFERENCES = {
    "primary": Primary,
    "primaryPreferred": PrimaryPreferred,
    "secondary": Secondary,
    "secondaryPreferred": SecondaryPreferred,
    "nearest": Nearest,
}


class CollectionSource(Paced):
    """One collection or view behind the contract `stores.contract.Source`."""

    def __init__(
        self,
        client: Client,
        connection: Connection,
        collection: str,
        where: Mapping[str, Any],
        stream_access: StreamAccess,
        *,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
    ) -> None:
        """Bind the names; nothing is asked of the server yet."""
        self._client = client
        self._connection = connection
        self._name = collection
        self._where = where
        self._stream_access = stream_access
        self._limits = limits
        self._timing = timing
        self._described: CollectionMetadata | None = None
        self._time = 0
        self._advancing = threading.Lock()
        self.pace = pace("the source", connection.ceilings(), connection.uri, timing)

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for a collection that is absent or cannot be read.

        The filter is tried: an operator the server does not know must not be found out after the target was made.
        """
        described = self._describe()
        if self._where:
            self._try_filter()
        notes = [*ttl_notes(self._name, described.indexes), *unique_notes(self._name, described.indexes)]
        if described.kind == "view":
            notes.append(f"{self._name} is a view: it is read in one partition and cannot be synced")
        if described.capped:
            notes.append(
                f"{self._name} is capped: it is read in one partition; documents that roll off meanwhile are reported"
            )
        if not self._flavour().replicated:
            notes.append("the source is a standalone server: it has no majority read concern, and sync is not possible")
        return notes

    def _try_filter(self) -> None:
        try:
            with translated(self._name, self._client), self._session() as session:
                ask, collection = self._client.ask, self._collection()
                ask(lambda: collection.find_one(self._where, projection=["_id"], session=session))
                # Counting needs it as a stage, which takes less than a query: not $where, $near or $text.
                ask(lambda: collection.aggregate([{"$match": self._where}, {"$limit": 1}], session).close())
        except PermanentError as error:
            raise PlanError("E-SRC-WHERE", f"the filter `where` cannot be used: {error.message}") from error

    def streaming(self) -> Streaming:
        """Return whether its changes can be streamed, by opening the stream as a sync would (R100)."""
        return streaming(self._client, self._describe(), self._stream_access)

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
        group = {"$group": {"_id": {"$type": "$_id"}, "documents": {"$sum": 1}}}
        pipeline = [*partitioning.matching(self._where), group]
        return {str(row["_id"]): int(row["documents"]) for row in self._rows(pipeline)}

    def estimate(self) -> int:
        """Return the collection's metadata count, all documents for a filter, 0 for a view."""
        if self._describe().kind == "view":
            return 0
        with translated(self._name, self._client):
            return int(self._client.ask(self._collection().estimated_document_count))

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return at most so many partitions with bounds from a random sample, sorted by the server (R105, R107).

        Bounds only balance the work: whatever they are, the partitions are disjoint and cover everything.
        """
        described = self._describe()
        if partitions <= 1 or described.kind == "view" or described.capped:
            return [Partition(0)]
        sampled = self._positions(partitioning.sample_for_bounds(self._where, partitions))
        if self._where and len(sampled) < partitions:
            # What lets through so little is passed over for most of the time: the work is to read everything.
            sampled = self._positions(partitioning.sample_for_bounds({}, partitions))
        return partitioning.partitions_between(self._name, sampled, partitions)

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return about the middle of what is left past `after`; None where too little is.

        It is the median of a random sample. Where that tells too little, the index on `_id` is walked.
        """
        described = self._describe()
        if described.kind == "view" or described.capped:
            return None
        sampled = self._positions(partitioning.sample_of_rest(self._name, partition, after))
        documents = self.estimate()
        if partitioning.too_few(sampled, documents, least):
            at = partitioning.halfway(partial(self._position_past, partition, after), least)
            return at if at is None else partitioning.within(self._name, at, partition, after)
        if not sampled or partitioning.estimated(sampled, documents) < least:
            return None
        return partitioning.median(self._name, sampled, partition, after)

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in ascending BSON order of `_id`, past the position `after` if given."""
        last = after
        backoff = self._backoff()
        ids = Ids(self._name, self._describe().unique_ids, after)
        expected = self._batch_documents()
        bounds = [typed_of(self._name, bound) for bound in (partition.lower, partition.upper) if bound is not None]
        if len(bounds) == 2 and bounds[0] == bounds[1]:
            return  # Half-open, so empty; a server refuses to be asked for it.

        def batches() -> Generator[Batch, None, None]:
            nonlocal last
            with self._session() as session, ExitStack() as opened:
                with translated(self._name, self._client):
                    cursor = opened.enter_context(self._client.closing(self._cursor(partition, last, session)))
                resumed_at = last
                while True:
                    turn = self.pace.ask(expected)
                    backoff.extend(turn.excused_s)
                    with translated(self._name, self._client):
                        chunk = self._client.ask(lambda: next(cursor, None))
                    found = documents(chunk) if chunk is not None else []
                    self.pace.pacer.give_back(expected - len(found))
                    if chunk is None:
                        return
                    if resumed_at is not None:
                        # The bound is inclusive, as index bounds are: the document itself was read before (R104, R132).
                        if found and position(found[0]) == resumed_at:
                            del found[0]
                        resumed_at = None
                    # The answer is let go of while its documents are mapped and written, they before the next answer.
                    del chunk
                    if found:  # Only a new document is progress: the one at the bound comes every time.
                        last = ids.last(found)
                        yield Batch(found, last)
                    del found

        yield from retry_each(batches, backoff)

    def count_by_partition(self, partitions: Sequence[Partition]) -> Sequence[Mapping[str, int]]:
        """Return the server's own count per partition and BSON type of `_id`, by one read of every `_id`."""
        pipeline = partitioning.count_by_place(self._name, self._where, partitions)
        counts: list[dict[str, int]] = [{} for _ in partitions]
        for row in self._rows(pipeline):
            counts[int(row["_id"]["part"])][str(row["_id"]["type"])] = int(row["documents"])
        return counts

    def sample(self, number: int) -> Sequence[bytes]:
        """Return the positions of about so many documents, drawn by the server, each once."""
        return list(dict.fromkeys(self._positions(partitioning.sample(self._where, number))))

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the documents with these ids that the filter lets through, in any order; any number of ids.

        By the collection's collation it may also return a document whose `_id` is spelt differently.
        """
        found: list[bytes] = []
        most = int(min(self._limits.batch_documents, max(1, self._connection.ceilings().least)))
        # By bytes too: a query is well below the 16 MB that a command may have.
        for part in cut(ids, most, self._limits.query_bytes, len):
            self.pace.ask(len(part))
            fetched = retry(partial(self._fetch, part), self._backoff())
            self.pace.pacer.give_back(len(part) - len(fetched))
            found += fetched
        return found

    def _backoff(self) -> Backoff:
        return Backoff(self._connection.retry_deadline_s, from_failure=True, timing=self._timing)

    def _fetch(self, ids: Sequence[bytes]) -> list[bytes]:
        wanted: Mapping[str, Any] = {"_id": {"$in": [bound_of(self._name, at) for at in ids]}}
        where = {"$and": [wanted, self._where]} if self._where else wanted
        with (
            translated(self._name, self._client),
            self._session() as session,
            self._client.closing(self._found(where, session=session)) as chunks,
        ):
            return self._client.ask(lambda: [raw for chunk in chunks for raw in documents(chunk)])

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later (R102); never goes back.

        Raises PermanentError for a standalone server, which has no such time.
        """
        if not self._flavour().replicated:
            raise PermanentError(
                "E-SRC-STANDALONE", "the source is a standalone server: it has no cluster time to read by; copy only"
            )
        with self._advancing:
            self._time = max(self._time, time)

    @contextmanager
    def _session(self) -> Iterator[ClientSession | None]:
        """What is read in it is of the time advanced to, or later; each read has its own, as threads must not share."""
        if not self._time or not self._flavour().causal_reads:
            yield None
            return
        with self._client.start_session(causal_consistency=True) as session:
            session.advance_operation_time(timestamp(self._time))
            yield session

    def _found(self, where: Mapping[str, Any], **how: Any) -> Any:
        return self._collection().find_raw_batches(where, **how)

    def _positions(self, pipeline: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Return the position of each document that the pipeline gives."""
        with translated(self._name, self._client), self._session() as session:
            collection = self._collection()

            def sampled() -> list[bytes]:
                chunks: Any
                with closing(collection.aggregate_raw_batches(pipeline, session=session)) as chunks:
                    return [position_of(self._name, raw) for chunk in chunks for raw in documents(chunk)]

            return self._client.ask(sampled)

    def _position_past(self, partition: Partition, after: bytes, number: int) -> bytes | None:
        """Return the position so many documents past `after`; None where the partition has not as many left."""
        with translated(self._name, self._client), self._session() as session:
            by_id = [("_id", 1)]
            cursor = self._found(
                {}, projection={"_id": 1}, sort=by_id, hint=by_id, skip=number, limit=1, session=session
            ).min([("_id", bound_of(self._name, after))])
            if partition.upper is not None:
                cursor = cursor.max([("_id", bound_of(self._name, partition.upper))])
            with self._client.closing(cursor) as chunks:
                return self._client.ask(
                    lambda: next((position_of(self._name, raw) for chunk in chunks for raw in documents(chunk)), None)
                )

    def _rows(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return what an aggregation that reads every document gives."""
        with translated(self._name, self._client), self._session() as session:
            collection = self._collection()

            def aggregated() -> list[Mapping[str, Any]]:
                with closing(collection.aggregate(pipeline, session, allowDiskUse=True)) as rows:
                    return list(rows)

            return self._client.ask(aggregated)

    def _cursor(self, partition: Partition, after: bytes | None, session: ClientSession | None) -> Any:
        described = self._describe()
        lower = after if after is not None else partition.lower
        if described.kind == "view":
            # Index bounds need an index, which a view has not; $expr compares across types where a plain $gte would
            # only match the bound's own type (R104).
            bounds: list[Mapping[str, Any]] = []
            if lower is not None:
                bounds.append({"$gte": ["$_id", {"$literal": bound_of(self._name, lower)}]})
            where = {"$and": [self._where, {"$expr": {"$and": bounds}}]} if bounds else self._where
            return self._found(
                where,
                sort=[("_id", 1)],
                batch_size=self._batch_documents(),
                allow_disk_use=True if self._flavour().disk_use_on_find else None,
                session=session,
            )
        cursor = self._found(
            self._where, sort=[("_id", 1)], hint=[("_id", 1)], batch_size=self._batch_documents(), session=session
        )
        if lower is not None:
            cursor = cursor.min([("_id", bound_of(self._name, lower))])
        if partition.upper is not None:
            cursor = cursor.max([("_id", bound_of(self._name, partition.upper))])
        return cursor

    def batch_bytes(self) -> int:
        """Return about how many bytes of documents come at once, by the collection's metadata; 0 for a view."""
        described = self._describe()
        return min(self._batch_documents() * described.average_bytes, described.size_bytes, _ANSWER_BYTES)

    def _batch_documents(self) -> int:
        """Return how many documents are asked for at once: under a ceiling no more than it allows in a second."""
        average = self._describe().average_bytes
        # Two at least: a batch that begins at the bound brings one document already read.
        most = self._limits.batch_documents
        if average:
            most = max(2, min(most, self._limits.batch_bytes // average))
        return int(min(most, max(2, self._connection.ceilings().least)))

    def _collection(self) -> Collection[dict[str, Any]]:
        flavour = self._flavour()
        preference = _PREFERENCES[self._connection.read_preference]
        if self._connection.read_preference == "primary" or not flavour.secondary_reads:
            chosen: Any = Primary()
        else:
            chosen = preference(max_staleness=STALENESS_S) if flavour.staleness else preference()
        return self._client[self._connection.database].get_collection(
            self._name,
            codec_options=CODEC,
            read_preference=chosen,
            read_concern=ReadConcern("majority" if flavour.majority_reads else "local"),
        )

    def _flavour(self) -> Flavour:
        with translated(self._name, self._client):
            return self._client.flavour()

    def _describe(self) -> CollectionMetadata:
        if self._described is None:
            deadline_s = min(self._connection.retry_deadline_s, _DESCRIBE_DEADLINE_S)
            backoff = Backoff(deadline_s, from_failure=True, timing=self._timing)
            self._described = retry(self._asked_description, backoff)
        return self._described

    def _asked_description(self) -> CollectionMetadata:
        with translated(self._name, self._client):
            flavour = self._client.flavour()
            return self._client.ask(lambda: described(self._client, flavour, self._connection.database, self._name))
