"""The client of one MongoDB, which remembers what each of its servers last answered."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, RLock
from typing import Any, TypeVar

import bson
from pymongo import MongoClient, monitoring
from pymongo.errors import ProtocolError, ServerSelectionTimeoutError

from stores.connection_faults import ConnectionFault, Kind, connection_fault, fault_of
from stores.contract.stop import Stop
from stores.mongodb.bounds import Proof
from stores.mongodb.configuration import uses_tls
from stores.mongodb.flavour import BoundWay, Flavour, recognise
from stores.mongodb.waiting import Waiting, let_go
from stores.protocol_probe import PlainQuestion, TlsCheck
from stores.sharing import Closable

_BODY = struct.pack("<IB", 0, 0) + bson.encode({"hello": 1, "$db": "admin"})
_HELLO = PlainQuestion(
    struct.pack("<iiii", 16 + len(_BODY), 1, 0, 2013) + _BODY,  # OP_MSG
    lambda answer: len(answer) >= 16 and struct.unpack("<i", answer[12:16])[0] in (1, 2013),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server last answered when it was asked how it is."""

    replica_set: str = ""
    error: Exception | None = None


class Answers(monitoring.ServerListener):
    """The last answer of each server. The driver forgets a server of another replica set at once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = Lock()
        self._answers: dict[str, Answer] = {}

    def opened(self, event: monitoring.ServerOpeningEvent) -> None:
        """Do nothing: nothing has been answered yet."""

    def closed(self, event: monitoring.ServerClosedEvent) -> None:
        """Do nothing: why a server was let go is in its last answer."""

    def description_changed(self, event: monitoring.ServerDescriptionChangedEvent) -> None:
        """Remember the answer."""
        description = event.new_description
        host, port = event.server_address
        with self._lock:
            self._answers[f"{host}:{port}" if port else host] = Answer(
                description.replica_set_name or "", description.error
            )

    def by_server(self) -> Mapping[str, Answer]:
        """Return the answers, by host and port."""
        with self._lock:
            return dict(self._answers)


_SURE_AFTER_S = 2.0
"""By then the driver has asked a server several times."""
_NOT_THERE: frozenset[Kind] = frozenset(("closed_port", "unknown_host", "no_route"))
T = TypeVar("T")
C = TypeVar("C", bound=Closable)


class Client(MongoClient[dict[str, Any]]):
    """The driver's client with the last answers of its servers."""

    def __init__(
        self,
        uri: str,
        retry_deadline_s: float,
        stop: Stop,
        *,
        flavour: str | None = None,
        only_way: BoundWay | None = None,
        **options: Any,
    ) -> None:
        """Connect lazily; raises as the driver's own does. `flavour` is the plan's key `source.flavour`."""
        self._only_way = only_way
        self._flavour_key = flavour
        self._flavour: Flavour | None = None
        self._recognising = Lock()
        self.proving = RLock()
        """Kept by whoever proves a way to ask for a range."""
        self.proofs: dict[bool, Proof] = {}
        """The certain proofs for collections, and for views (True)."""
        self.tried: set[bool] = set()
        """Whether what a run asks was sent once to a collection, and to a view (True)."""
        self._waiting = Waiting(retry_deadline_s, stop)
        self.answers = Answers()
        self._tls = TlsCheck(_HELLO, encrypted=uses_tls(uri))
        super().__init__(uri, connect=False, event_listeners=[self.answers], **options)

    def ask(self, question: Callable[[], T], *, at_once: bool = False) -> T:
        """Return the answer to a question to the servers; see `Waiting.ask`.

        Raises ServerSelectionTimeoutError in seconds where no server can be reached however long is waited, and with
        `at_once` also where none can be reached now.
        """

        def watch(waited_s: float) -> None:
            if waited_s > _SURE_AFTER_S and self._is_in_vain(at_once):
                raise ServerSelectionTimeoutError("no server can be reached")

        return self._waiting.ask(question, watch)

    def flavour(self, *, at_once: bool = False) -> Flavour:
        """Return what the server is, for which it is asked once; raises pymongo's errors while it cannot be asked."""
        with self._recognising:
            if self._flavour is None:
                self._flavour = self.ask(lambda: recognise(self, self._flavour_key, self._only_way), at_once=at_once)
            return self._flavour

    @contextmanager
    def closing(self, cursor: C) -> Iterator[C]:
        """Give the cursor for the length of the body; a server that says nothing keeps its own part of it."""
        try:
            yield cursor
        finally:
            let_go(cursor.close)

    def let_go(self) -> None:
        """Release the connections, without waiting for servers that say nothing."""
        let_go(self.close)

    def _is_in_vain(self, at_once: bool) -> bool:
        """Return whether every server is known to be out of reach: for good, or with `at_once` for now."""
        silent = self.silent()
        if len(self._refusing()) + len(silent) < max(1, len(self.topology_description.server_descriptions())):
            return False
        return all(not fault.passes or (at_once and fault.kind in _NOT_THERE) for fault in self.faults(silent).values())

    def faults(self, silent: Iterable[str] = ()) -> Mapping[str, ConnectionFault]:
        """Return why each server cannot be spoken to, by host and port; those that are `silent` are among them.

        A server that may speak TLS where the URI does not, or the reverse, is asked once, which may take seconds.
        """
        found = self._refusing() | {server: fault_of("timeout") for server in silent}
        return {server: self._explained(server, fault) for server, fault in found.items()}

    def _refusing(self) -> dict[str, ConnectionFault]:
        faults = {
            server: connection_fault(str(answer.error))
            for server, answer in self.answers.by_server().items()
            if answer.error is not None
        }
        return {server: fault for server, fault in faults.items() if fault is not None}

    def _explained(self, server: str, fault: ConnectionFault) -> ConnectionFault:
        host, _, port = server.rpartition(":")
        if not port.isdecimal():  # A socket of this machine has no port.
            return fault
        return self._tls.explain(fault, host, int(port)) or fault

    def silent(self) -> list[str]:
        """Return the servers that have not answered yet, nor refused to, by host and port."""
        answered = self.answers.by_server()
        servers = (f"{host}:{port}" for host, port in self.topology_description.server_descriptions() if port)
        return [server for server in servers if server not in answered]

    def strangers(self) -> list[str]:
        """Return the servers that answer otherwise than a MongoDB does, by host and port."""
        answers = self.answers.by_server().items()
        return [server for server, answer in answers if isinstance(answer.error, ProtocolError)]

    def other_sets(self) -> Mapping[str, str]:
        """Return the replica set of each server, by host and port, where none is of the set that the URI names.

        The name is "" for a server that is in no replica set.
        """
        topology = self.topology_description
        if topology.replica_set_name is None or topology.server_descriptions():
            return {}
        return {server: answer.replica_set for server, answer in self.answers.by_server().items() if not answer.error}
