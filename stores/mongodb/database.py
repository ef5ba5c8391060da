"""One MongoDB database, opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pymongo.errors import ConfigurationError, InvalidURI

from stores.errors import PlanError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.client import Client
from stores.mongodb.collection import CollectionSource
from stores.mongodb.configuration import LIMITS, Connection, Limits, uri_fault
from stores.mongodb.differences import differences
from stores.mongodb.errors import translated, unresolved
from stores.mongodb.flavour import BoundWay, Flavour
from stores.mongodb.metadata import Facts, described, facts
from stores.mongodb.probe import ProbedAbility, probe
from stores.mongodb.sync_support import StreamAccess
from stores.mongodb.waiting import PATIENT_S
from stores.mongodb.watermark import Watermark
from stores.throttling.backoff import TIMING, Timing
from stores.urls import hosts_of

_IDLE_MS = 60_000


class MongoDB:
    """One database, read at majority read concern where it has a replica set."""

    def __init__(
        self,
        connection: Connection,
        *,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
        only_way: BoundWay | None = None,
    ) -> None:
        """Connect lazily; raises PlanError for a connection string that is none.

        `only_way` is the one way to ask for a range of `_id` that is tried; by default those that the server may have.
        """
        self._connection = connection
        self._limits = limits
        self._timing = timing
        heartbeat_ms = int(1000 * max(5, min(10, connection.retry_deadline_s / 3)))
        if fault := uri_fault(connection.uri):
            raise PlanError("E-SRC-URI", f"source.uri {fault}")
        try:
            self._client = Client(
                connection.uri,
                connection.retry_deadline_s,
                timing.stop,
                document_class=dict,
                flavour=connection.flavour,
                only_way=only_way,
                appname="offramp",
                serverSelectionTimeoutMS=int(1000 * max(0.1, min(10, connection.retry_deadline_s))),
                # A server that is silent is known after a heartbeat's time and the time of its answer.
                heartbeatFrequencyMS=heartbeat_ms,
                connectTimeoutMS=heartbeat_ms,
                socketTimeoutMS=int(1000 * PATIENT_S),
                # What lies between may forget a connection that was idle for minutes, without telling.
                maxIdleTimeMS=_IDLE_MS,
            )
        except OSError as error:  # Also what OpenSSL says of a file.
            raise PlanError(
                "E-SRC-URI",
                "source.uri: tlsCAFile or tlsCertificateKeyFile is not a readable file of certificates and keys in PEM"
                f" format ({error.strerror or type(error).__name__}); correct it",
            ) from None
        except (InvalidURI, ConfigurationError, ValueError) as error:
            if "certificate" in str(error):
                raise PlanError(
                    "E-SRC-URI",
                    "source.uri: the file of tlsCertificateKeyFile does not hold a certificate and its key, or its"
                    " password is wrong; correct it",
                ) from None
            if isinstance(error, ConfigurationError) and (found := unresolved("the source", error)) is not None:
                raise found from error
            raise PlanError(
                "E-SRC-URI", f"source.uri is not a MongoDB connection string: {type(error).__name__}"
            ) from None
        self._stream_access = StreamAccess(self.changes)

    def source(self, collection: str, where: Mapping[str, Any] | None = None) -> CollectionSource:
        """Return the documents of one collection that match the filter, all of them without one."""
        return CollectionSource(
            self._client,
            self._connection,
            collection,
            where or {},
            self._stream_access,
            limits=self._limits,
            timing=self._timing,
        )

    def changes(self, window_s: float | None = None) -> DatabaseChanges:
        """Return the changes of all its collections, as one stream.

        `window_s` is how far back the source tells changes, for where it cannot be asked (R122); by default what the
        plan says, or what AWS says of the plan's cluster (PlanError where it does not).
        """
        connection = self._connection
        if window_s is None:
            window_s = self._kept_s
        return DatabaseChanges(
            self._client,
            connection.database,
            connection.retry_deadline_s,
            window_s=window_s,
            limits=self._limits,
            timing=self._timing,
        )

    @cached_property
    def _kept_s(self) -> float | None:
        """How long the source keeps changes, as the plan or AWS says; asked once."""
        if self._connection.aws_cluster is not None:
            from stores.aws_documentdb import change_retention_s  # AWS's client takes a while to import.

            return change_retention_s(self._connection.aws_cluster)
        return self._connection.change_retention

    def watermark(self, collection: str, field: str, overlap_s: float = 60) -> Watermark:
        """Return the changes of one collection as far as a date field tells them, from so long before the last seen."""
        connection = self._connection
        with translated(collection, self._client):
            flavour = self._client.flavour()
            found = self._client.ask(lambda: described(self._client, flavour, connection.database, collection))
        return Watermark(
            self._client,
            found,
            flavour,
            field,
            overlap_s,
            connection.retry_deadline_s,
            limits=self._limits,
            timing=self._timing,
        )

    def flavour(self, *, at_once: bool = False) -> Flavour:
        """Return what the server is; see `facts` for `at_once`."""
        with translated("the source", self._client):
            return self._client.flavour(at_once=at_once)

    def differences(self) -> Sequence[str]:
        """Return what is done otherwise because of what the server is, a line for each thing."""
        return list(differences(self.flavour(), self._connection.read_preference))

    def probe(self, collection: str) -> Sequence[ProbedAbility]:
        """Return what the server can do, each ability tried once on the collection; nothing is written."""
        with translated("the source", self._client):
            flavour = self._client.flavour()
            return list(probe(self._client, flavour, self._connection.database, collection))

    def facts(self, collections: Iterable[str], *, at_once: bool = False) -> Facts:
        """Return what the server says of itself and of the unique indexes of these collections.

        With `at_once` a server that cannot be reached now is not waited for.
        """
        with translated("the source", self._client):
            return self._client.ask(
                lambda: facts(self._client, self._connection.database, collections), at_once=at_once
            )

    def hosts(self) -> str:
        """Return the hosts of the connection string, without its login."""
        return hosts_of(self._connection.uri)

    def close(self) -> None:
        """Release connections."""
        self._client.let_go()
