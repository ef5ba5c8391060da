"""MongoDB as the source: collections split and read in BSON order of `_id`, whatever its types."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from mappers.documents.decoding import documents, position
from mappers.expiry import IndexExpires
from stores.contract.changes import Streaming
from stores.contract.source import Batch, Partition
from stores.errors import PermanentError, PlanError
from stores.mongodb import partitioning
from stores.mongodb.access import CollectionAccess
from stores.mongodb.bounds import Watch, range_filter
from stores.mongodb.client import Client
from stores.mongodb.configuration import LIMITS, Connection, Limits
from stores.mongodb.errors import translated
from stores.mongodb.ids import Ids, bound_of, position_of, typed_of
from stores.mongodb.sync_support import StreamAccess, streaming
from stores.mongodb.ttl_indexes import ttl_notes, ttl_rule, unique_notes
from stores.throttling.backoff import TIMING, Backoff, Timing, retry, retry_each
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Paced, pace

_ANSWER_BYTES = 16 << 20
"""What an answer of a server has at most."""


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
        self._access = CollectionAccess(client, connection, collection, timing)
        self.pace = pace("the source", connection.ceilings(), connection.uri, timing)

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for a collection that is absent or cannot be read.

        The filter is tried, and whatever else a run asks: an operator the server does not know must not be found out
        after the target was made.
        """
        described = self._access.metadata()
        if self._where:
            self._try_filter()
        self._access.try_constructs()
        notes = [
            *self._access.notes(),
            *ttl_notes(self._name, described.indexes),
            *unique_notes(self._name, described.indexes),
        ]
        if described.kind == "view":
            notes.append(f"{self._name} is a view: it is read in one partition, and no stream tells its changes")
        if described.capped:
            notes.append(
                f"{self._name} is capped: it is read in one partition; documents that roll off meanwhile are reported"
            )
        flavour = self._access.flavour()
        if flavour.product == "mongodb" and not flavour.replicated:
            notes.append(
                "the source is a standalone server: it has no majority read concern, and no stream tells its changes"
            )
        return notes

    def _try_filter(self) -> None:
        try:
            with translated(self._name, self._client, "the filter"), self._access.session() as session:
                ask, collection = self._client.ask, self._access.collection()
                ask(lambda: collection.find_one(self._where, projection=["_id"], session=session))
                # Counting needs it as a stage, which takes less than a query: not $where, $near or $text.
                ask(lambda: collection.aggregate([{"$match": self._where}, {"$limit": 1}], session).close())
        except PermanentError as error:
            raise PlanError("E-SRC-WHERE", f"the filter `where` cannot be used: {error.message}") from error

    def streaming(self) -> Streaming:
        """Return whether its changes can be streamed, by opening the stream as a sync would (R100)."""
        return streaming(self._client, self._access.metadata(), self._stream_access)

    def expiry(self) -> IndexExpires:
        """Return when the collection's TTL indexes delete its documents; raises PlanError without such a rule."""
        described = self._access.metadata()
        return ttl_rule(self._name, described.kind, described.indexes)

    def identity(self) -> str:
        """Return the collection's UUID, which changes when it is dropped and made again ("" for servers without).

        A view is what it is defined as.
        """
        return self._access.metadata().uuid

    def count_by_type(self) -> Mapping[str, int]:
        """Return the source's own count per BSON type of `_id`, by an aggregation that reads every `_id` (R157)."""
        return self._count_range(Partition(0))

    def _count_range(self, partition: Partition) -> Mapping[str, int]:
        """Return the server's own count per BSON type of `_id` within the partition's bounds."""
        pipeline = partitioning.matching(self._where)
        if partition.lower is not None or partition.upper is not None:
            within = range_filter(self._name, self._access.way(), partition.lower, partition.upper)
            pipeline += partitioning.matching(within)
        rows = self._access.rows([*pipeline, partitioning.COUNT_BY_TYPE])
        return {str(row["_id"]): int(row["documents"]) for row in rows}

    def estimate(self) -> int:
        """Return the collection's metadata count, all documents for a filter, 0 for a view."""
        if self._access.metadata().kind == "view":
            return 0
        with translated(self._name, self._client):
            return int(self._client.ask(self._access.collection().estimated_document_count))

    def split(self, partitions: int) -> Sequence[Partition]:
        """Return at most so many partitions with bounds from a random sample, sorted by the server (R105, R107).

        Where the server draws no sample, the index on `_id` is walked in equal strides. Bounds only balance
        the work: whatever they are, the partitions are disjoint and cover everything.
        """
        described = self._access.metadata()
        if partitions <= 1 or described.kind == "view" or described.capped:
            return [Partition(0)]
        if not self._access.flavour().sample:
            walked = partitioning.strides(self._access.position_past, self.estimate(), partitions)
            return partitioning.partitions_between(self._name, walked, partitions)
        sampled = self._access.aggregated_positions(partitioning.sample_for_bounds(self._where, partitions))
        if self._where and len(sampled) < partitions:
            # What lets through so little is passed over for most of the time: the work is to read everything.
            sampled = self._access.aggregated_positions(partitioning.sample_for_bounds({}, partitions))
        return partitioning.partitions_between(self._name, sampled, partitions)

    def middle(self, partition: Partition, after: bytes, least: int) -> bytes | None:
        """Return about the middle of what is left past `after`; None where too little is.

        It is the median of a random sample. Where that tells too little, the index on `_id` is walked.
        """
        described = self._access.metadata()
        if described.kind == "view" or described.capped:
            return None
        documents, sampled = self.estimate(), list[bytes]()
        draws = self._access.flavour().sample
        if draws:
            sampled = self._access.aggregated_positions(partitioning.sample_of_rest(self._name, partition, after))
        if not draws or partitioning.too_few(sampled, documents, least):
            at = partitioning.halfway(partial(self._access.position_past, after, partition.upper), least)
            return at if at is None else partitioning.within(self._name, at, partition, after)
        if not sampled or partitioning.estimated(sampled, documents) < least:
            return None
        return partitioning.median(self._name, sampled, partition, after)

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the partition's documents in ascending BSON order of `_id`, past the position `after` if given."""
        last = after
        backoff = self._backoff()
        ids = Ids(self._name, self._access.metadata().unique_ids, after)
        expected = self._batch_documents()
        bounds = [typed_of(self._name, bound) for bound in (partition.lower, partition.upper) if bound is not None]
        if len(bounds) == 2 and bounds[0] == bounds[1]:
            return  # Half-open, so empty; a server refuses to be asked for it.

        def batches() -> Generator[Batch, None, None]:
            nonlocal last
            lower = last if last is not None else partition.lower
            watch = Watch(self._name, lower, partition.upper, collated=self._access.metadata().collated)
            with self._access.session() as session, ExitStack() as opened:
                how = {"batch_size": self._batch_documents()}
                cursor = self._access.range_cursor(self._where, lower, partition.upper, session, **how)
                opened.enter_context(self._client.closing(cursor))
                resumed_at = last
                while True:
                    turn = self.pace.ask(expected)
                    backoff.extend(turn.excused_s)
                    with translated(self._name, self._client, "a read in the order of _id"):
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
                        last_found = ids.last(found)
                        watch.look(position_of(self._name, found[0]), last_found)
                        last = last_found
                        yield Batch(found, last)
                    del found

        yield from retry_each(batches, backoff)

    def count_by_partition(self, partitions: Sequence[Partition]) -> Sequence[Mapping[str, int]]:
        """Return the server's own count per partition and BSON type of `_id`, by one read of every `_id`.

        A server that does not compare in an aggregation reads them once for each partition.
        """
        if not self._access.flavour().expressions:
            return [self._count_range(part) for part in partitions]
        pipeline = partitioning.count_by_place(self._name, self._where, partitions)
        counts: list[dict[str, int]] = [{} for _ in partitions]
        for row in self._access.rows(pipeline):
            counts[int(row["_id"]["part"])][str(row["_id"]["type"])] = int(row["documents"])
        return counts

    def sample(self, number: int) -> Sequence[bytes]:
        """Return the positions of about so many documents, drawn by the server, each once.

        Where the server draws none, every `_id` is read.
        """
        if not self._access.flavour().sample:
            return partitioning.drawn(self._access.every_position(self._where), number)
        return list(dict.fromkeys(self._access.aggregated_positions(partitioning.sample(self._where, number))))

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
            self._access.session() as session,
            self._client.closing(self._access.find(session, filter=where)) as chunks,
        ):
            return self._client.ask(lambda: [raw for chunk in chunks for raw in documents(chunk)])

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later (R102); never goes back.

        Raises PermanentError for a standalone server, which has no such time.
        """
        if not self._access.flavour().replicated:
            raise PermanentError(
                "E-SRC-STANDALONE", "the source is a standalone server: it has no cluster time to read by; copy only"
            )
        self._access.advance(time)

    def batch_bytes(self) -> int:
        """Return about how many bytes of documents come at once, by the collection's metadata; 0 for a view."""
        described = self._access.metadata()
        return min(self._batch_documents() * described.average_bytes, described.size_bytes, _ANSWER_BYTES)

    def _batch_documents(self) -> int:
        """Return how many documents are asked for at once: under a ceiling no more than it allows in a second."""
        average = self._access.metadata().average_bytes
        # Two at least: a batch that begins at the bound brings one document already read.
        most = self._limits.batch_documents
        if average:
            most = max(2, min(most, self._limits.batch_bytes // average))
        return int(min(most, max(2, self._connection.ceilings().least)))
