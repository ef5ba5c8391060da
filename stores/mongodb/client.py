"""The client of one MongoDB, which remembers what each of its servers last answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pymongo import MongoClient, monitoring
from pymongo.errors import ProtocolError

from stores.connection_faults import ConnectionFault, connection_fault


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


class Client(MongoClient[dict[str, Any]]):
    """The driver's client with the last answers of its servers."""

    def __init__(self, uri: str, **options: Any) -> None:
        """Connect lazily; raises as the driver's own does."""
        self.answers = Answers()
        super().__init__(uri, connect=False, event_listeners=[self.answers], **options)

    def unreachable(self) -> Iterator[tuple[str, ConnectionFault]]:
        """Yield each server that cannot be spoken to, by host and port, and why."""
        for server, answer in self.answers.by_server().items():
            fault = None if answer.error is None else connection_fault(str(answer.error))
            if fault is not None:
                yield server, fault

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
