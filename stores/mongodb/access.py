"""How one collection is asked: with which read concern, preference and session, and by which way for a range."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred

from mappers.documents.decoding import CODEC, documents
from stores.mongodb.bounds import BY_ID, Filter, Proof, Way, range_query
from stores.mongodb.client import Client
from stores.mongodb.configuration import STALENESS_S, Connection
from stores.mongodb.constructs import constructs
from stores.mongodb.errors import translated
from stores.mongodb.flavour import Flavour
from stores.mongodb.ids import position_of
from stores.mongodb.metadata import CollectionMetadata, described
from stores.mongodb.ranges import WAY_NAMES, no_way, prove
from stores.mongodb.times import timestamp
from stores.throttling.backoff import Backoff, Timing, retry

_DESCRIBE_DEADLINE_S = 15.0
_PREFERENCES = {
    "primary": Primary,
    "primaryPreferred": PrimaryPreferred,
    "secondary": Secondary,
    "secondaryPreferred": SecondaryPreferred,
    "nearest": Nearest,
}
Pipeline = Sequence[Mapping[str, Any]]


class CollectionAccess:
    """One collection or view, as the source reads it; safe to use from several threads."""

    def __init__(self, client: Client, connection: Connection, collection: str, timing: Timing) -> None:
        """Bind the names; nothing is asked of the server yet."""
        self._client = client
        self._connection = connection
        self._name = collection
        self._timing = timing
        self._metadata: CollectionMetadata | None = None
        self._time = 0
        self._advancing = threading.Lock()

    def flavour(self) -> Flavour:
        """Return what the server is."""
        with translated(self._name, self._client):
            return self._client.flavour()

    def metadata(self) -> CollectionMetadata:
        """Return what the server says of the collection, for which it is asked once."""
        if self._metadata is None:
            deadline_s = min(self._connection.retry_deadline_s, _DESCRIBE_DEADLINE_S)
            backoff = Backoff(deadline_s, from_failure=True, timing=self._timing)
            self._metadata = retry(self._ask_metadata, backoff)
        return self._metadata

    def _ask_metadata(self) -> CollectionMetadata:
        with translated(self._name, self._client, "listing collections and their size"):
            flavour = self._client.flavour()
            return self._client.ask(lambda: described(self._client, flavour, self._connection.database, self._name))

    def advance(self, time: int) -> None:
        """Whatever is read from now on is of this cluster time or later (R102); never goes back."""
        with self._advancing:
            self._time = max(self._time, time)

    @contextmanager
    def session(self) -> Iterator[ClientSession | None]:
        """What is read in it is of the time advanced to, or later; each read has its own, as threads must not share."""
        if not self._time or not self.flavour().causal_reads:
            yield None
            return
        with self._client.start_session(causal_consistency=True) as session:
            session.advance_operation_time(timestamp(self._time))
            yield session

    def collection(self) -> Collection[dict[str, Any]]:
        """Return the driver's collection, with the read concern and the read preference of the plan and the server."""
        flavour = self.flavour()
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

    def find(self, session: ClientSession | None, **query: Any) -> Any:
        """Return a cursor of raw batches."""
        return self.collection().find_raw_batches(session=session, **query)

    def range_cursor(
        self, where: Filter, lower: bytes | None, upper: bytes | None, session: ClientSession | None, **how: Any
    ) -> Any:
        """Return a cursor of raw batches over the documents from `lower` on and below `upper`, in the order of `_id`.

        Raises PlanError E-SRC-BOUNDS where the server obeys no way to ask for a range.
        """
        way = None if lower is None and upper is None else self.way()
        return self._in_order(session, **range_query(self._name, way, where, lower, upper), **how)

    def _in_order(self, session: ClientSession | None, **query: Any) -> Any:
        if self.metadata().kind == "view":  # A view has no index, so it may have to be sorted.
            query["allow_disk_use"] = True if self.flavour().disk_use_on_find else None
        else:
            query["hint"] = BY_ID
        return self.find(session, **{"sort": BY_ID, **query})

    def way(self) -> Way:
        """Return the way to ask for a range that the server obeys; raises PlanError E-SRC-BOUNDS for none."""
        proof = self.proof()
        if proof.way is None:
            raise no_way(self._name, proof)
        return proof.way

    def proof(self) -> Proof:
        """Return what the proof of the ways comes to; a certain one is kept for the connection."""
        view = self.metadata().kind == "view"
        with self._client.proving:
            if (known := self._client.proofs.get(view)) is not None:
                return known
            flavour = self.flavour()
            with translated(self._name, self._client, "a read by ranges of _id"):
                proof = prove(self._name, flavour, view=view, ask=self._positions_found)
            if proof.certain:
                self._client.proofs[view] = proof
            return proof

    def _positions_found(self, query: Mapping[str, Any]) -> list[bytes]:
        with self.session() as session:
            cursor = self._in_order(session, **{"projection": {"_id": 1}, **query})
            return self._client.ask(lambda: self._positions_of(cursor))

    def _positions_of(self, cursor: Any) -> list[bytes]:
        with closing(cursor) as chunks:
            return [position_of(self._name, raw) for chunk in chunks for raw in documents(chunk)]

    def position_past(self, lower: bytes | None, upper: bytes | None, number: int) -> bytes | None:
        """Return the position so many documents past the first from `lower` on; None where there are not as many."""
        with translated(self._name, self._client, "a walk along the index on _id"), self.session() as session:
            cursor = self.range_cursor({}, lower, upper, session, projection={"_id": 1}, skip=number, limit=1)
            return next(iter(self._client.ask(lambda: self._positions_of(cursor))), None)

    def every_position(self, where: Filter) -> Iterator[bytes]:
        """Yield the position of each document that the filter lets through, in any order."""
        with (
            translated(self._name, self._client, "a read of every _id"),
            self.session() as session,
            self._client.closing(self.find(session, filter=where, projection={"_id": 1})) as chunks,
        ):
            while (chunk := self._client.ask(lambda: next(chunks, None))) is not None:
                for raw in documents(chunk):
                    yield position_of(self._name, raw)

    def aggregated_positions(self, pipeline: Pipeline) -> list[bytes]:
        """Return the position of each document that the pipeline gives."""
        with translated(self._name, self._client, "an aggregation"), self.session() as session:
            collection = self.collection()
            return self._client.ask(
                lambda: self._positions_of(collection.aggregate_raw_batches(pipeline, session=session))
            )

    def rows(self, pipeline: Pipeline) -> list[Mapping[str, Any]]:
        """Return what an aggregation that reads every document gives."""
        with translated(self._name, self._client, "an aggregation"), self.session() as session:
            collection = self.collection()

            def aggregated() -> list[Mapping[str, Any]]:
                with closing(collection.aggregate(pipeline, session, allowDiskUse=True)) as rows:
                    return list(rows)

            return self._client.ask(aggregated)

    def try_constructs(self) -> None:
        """Send what a run asks once for each connection and kind of collection; raises PermanentError for a refusal."""
        view = self.metadata().kind == "view"
        with self._client.proving:
            if view in self._client.tried:
                return
            with self.session() as session:
                for construct in constructs(self.flavour(), self.collection(), session, view=view):
                    with translated(self._name, self._client, construct.name):
                        self._client.ask(construct.send)
            self._client.tried.add(view)

    def notes(self) -> Iterator[str]:
        """Yield what is done otherwise than on MongoDB to read the collection in ranges."""
        proof = self.proof()
        if proof.way is None:
            raise no_way(self._name, proof)
        for name, why in proof.left_out.items():
            yield f"{WAY_NAMES[name]}: {why}; ranges are read by {WAY_NAMES[proof.way.name]}"
