"""A Redis Cluster: each step goes to the node that owns its key's slot, and follows a slot that moves (R72, R75)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis.exceptions as driver
from redis.cluster import ClusterNode, NodesManager
from redis.crc import key_slot

from stores.contract.fence import Fence
from stores.errors import PlanError, TransientError
from stores.redis.aws_login import Unsigned
from stores.redis.client import AGAIN, AUTH, LOST, Refused, Server, Step, Wire, failure
from stores.redis.configuration import Connection
from stores.redis.connections import Connections
from stores.redis.keys import as_bytes
from stores.throttling.backoff import TIMING, Backoff, Timing, retry

_MOVING = AGAIN | {"MOVED", "ASK"}


class _Node(Server):
    """One node: what it refuses because of a slot passes."""

    again = _MOVING


class Cluster(Server):
    """The nodes of a cluster behind the interface of one server; the driver finds them and the owner of each slot."""

    again = _MOVING

    def __init__(self, way: Connection, *, timing: Timing = TIMING) -> None:
        """Take the URL of any node without connecting; raises ValueError for a URL that no cluster can have."""
        connections = Connections(way)
        options = connections.options
        if "path" in options or options.get("db", 0) != 0:
            raise ValueError("url: of a cluster names host and port, and no database but 0")
        super().__init__(connections, way.retry_deadline_s, way.durability, timing=timing)
        self._way = way
        self._at = (options.get("host", "localhost"), options.get("port", 6379))
        self._lock = threading.Lock()
        self._driver: NodesManager | None = None
        self._known = False
        self._nodes: dict[str, _Node] = {}

    def primaries(self, deadline_s: float | None = None) -> Sequence[Server]:
        """Return every node that owns a slot; raises TransientError while some slot has no owner."""
        slots = retry(
            self._slots,
            Backoff(self._deadline_s if deadline_s is None else deadline_s, timing=self.timing),
            passing=LOST,
            gave_up=lambda error: self.gave_up(error, deadline_s),
        )
        return [self._node(name) for name in sorted({owners[0].name for owners in slots.values()})]

    def layout(self) -> object:
        """Return which node owns which slot, as the nodes themselves say now; None while slots are on their way."""
        self.stale()
        shares: list[tuple[str, ...]] = []
        for node in self.primaries():
            (reply,) = node.ask(("CLUSTER", "NODES"))
            (mine,) = (line.split() for line in reply.decode().splitlines() if "myself" in line)
            # After eight fields come the node's slots, those under way in brackets.
            if any(part.startswith("[") for part in mine[8:]):
                return None
            shares.append((node.place, mine[0], *mine[8:]))
        return tuple(shares)

    def stale(self) -> None:
        """Who owns what is asked anew when it is next needed."""
        with self._lock:
            self._known = False

    @contextmanager
    def wire(self, key: str = "") -> Iterator[Wire]:
        """Give a connection to the key's owner; raises an error of `LOST` if there is none."""
        with self._owner(key).wire() as wire:
            yield wire

    def close(self) -> None:
        """Release the connections; a later call opens new ones."""
        with self._lock:
            nodes, driver_nodes = list(self._nodes.values()), self._driver
            self._nodes.clear()
            self._driver = None
        for node in nodes:
            node.close()
        if driver_nodes is not None:
            driver_nodes.close()

    def attempt(
        self, steps: Sequence[Step], fence: Fence, *, writing: bool = False, asking: bool = False
    ) -> tuple[Sequence[Sequence[Any] | None], Exception | None]:
        """Return each step's replies from its key's owner, None where that did not answer, and why it did not."""
        answers: list[Sequence[Any] | None] = [None] * len(steps)
        shares: dict[Server, list[int]] = {}
        try:
            for at, step in enumerate(steps):
                shares.setdefault(self._owner(step.key), []).append(at)
        except LOST as error:
            return answers, error
        cause = self._exchange(steps, fence, shares, answers, writing=writing, asking=asking)
        moving: dict[Server, list[int]] = {}
        for at, (step, replies) in enumerate(zip(steps, answers, strict=True)):
            refused = failure(step, replies) if replies is not None else None
            if isinstance(refused, driver.AskError):
                # The key is absent where its slot leaves, so it is, or will be, where the slot goes to.
                moving.setdefault(self._node(f"{refused.host}:{refused.port}"), []).append(at)
        return answers, self._exchange(steps, fence, moving, answers, writing=writing, asking=True) or cause

    def _exchange(
        self,
        steps: Sequence[Step],
        fence: Fence,
        shares: dict[Server, list[int]],
        answers: list[Sequence[Any] | None],
        *,
        writing: bool,
        asking: bool,
    ) -> Exception | None:
        """The answers hold what each server replied to its share; returns why one did not."""
        cause: Exception | None = None
        for server, share in shares.items():
            share_answers, error = server.attempt([steps[at] for at in share], fence, writing=writing, asking=asking)
            cause = error or cause
            for at, replies in zip(share, share_answers, strict=True):
                answers[at] = replies
        return cause

    def _memory(self) -> str:
        return ""  # Which of the nodes was full is not known here.

    def _owner(self, key: str) -> Server:
        return self._node(self._slots()[key_slot(as_bytes(key))][0].name)

    def _node(self, name: str) -> Server:
        with self._lock:
            if name not in self._nodes:
                host, _, port = name.rpartition(":")
                connections = Connections(self._way, (host, int(port)))
                self._nodes[name] = _Node(connections, self._deadline_s, self._durability, timing=self.timing)
            return self._nodes[name]

    def _slots(self) -> Mapping[int, Sequence[ClusterNode]]:
        """Return the nodes of each slot, its primary first; raises an error of `LOST` while not every slot has one."""
        with self._lock:
            if self._driver is None and (mismatch := self._connections.tls_mismatch()) is not None:
                raise self._mismatched(mismatch)
            try:
                if self._driver is None:
                    options = dict(self._connections.options)
                    for name in ("host", "port", "retry"):  # These are the nodes' own, and the driver's.
                        options.pop(name, None)
                    start = [ClusterNode(*self._at)]  # type: ignore[no-untyped-call]
                    self._driver = NodesManager(start, from_url=True, require_full_coverage=True, **options)
                elif not self._known:
                    self._driver.initialize()
            except (driver.RedisError, driver.RedisClusterException) as error:
                raise self._trouble(error) from error
            self._known = True
            return self._driver.slots_cache

    def _trouble(self, error: Exception) -> Exception:
        """Return what the driver's search for the nodes means."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (Refused, Unsigned, *AUTH)):
            # The driver's own error hides what the server said: it is what that came from.
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, Refused) and "cluster support disabled" in str(cause):
            return PlanError("E-RDS-CLUSTER", f"{self.place} is not a cluster; remove cluster: true")
        if isinstance(cause, Unsigned):
            return cause if isinstance(cause.fault, TransientError) else cause.fault
        if isinstance(cause, driver.RedisError):
            return self.refusal(cause)
        return driver.ConnectionError(str(error))
