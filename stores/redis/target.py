"""Redis and Valkey as a target: keys of a document's own, and members of keys that documents share."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, TypeAlias

from mappers.redis.json_document import Json
from mappers.redis.records import Entry
from stores.contract.fence import Fence, TargetFence
from stores.contract.target import (
    Auditable,
    Describable,
    Fenced,
    Inspectable,
    Listable,
    Measurable,
    Place,
    Plannable,
    Rejected,
    Relisting,
    Relocatable,
    ScratchArea,
    ScratchAreas,
)
from stores.errors import PlanError
from stores.redis import configuration
from stores.redis.client import LOST, Refused, Server, Step, code, failure
from stores.redis.cluster import Cluster
from stores.redis.commands import (
    INT64,
    RECORDS,
    SHARED,
    WHOLES,
    Foreign,
    Held,
    Shared,
    delete_step,
    entry_number,
    read_steps,
    record_from,
    shared_step,
    too_large,
    under,
    unfit,
    whole_step,
)
from stores.redis.keys import OwnKeys, as_bytes, literal, parsed
from stores.redis.memory_usage import free_bytes, growth_bytes, size_of
from stores.redis.sentinel import connections_of
from stores.redis.server_checks import check_server, check_type, product_of, transport_notes
from stores.redis.server_health import Statuses, as_design, faults, of_design, recognize, server_statuses
from stores.redis.streams import Turns, insert, too_late
from stores.throttling.backoff import TIMING, Backoff, Timing, retry_each
from stores.throttling.rate_limiter import Paced, pace

_log = logging.getLogger(__name__)

_VALUE_BYTES = 512 * 2**20
"""The longest key or value a server takes unless its `proto-max-bulk-len` says otherwise (R76)."""
_BIG_BYTES = 10**6
"""A person should know of keys that are larger (R76)."""
_PAGE = "1000"
_NEVER = INT64
"""Read in place of an expiry that `ttl_s` promised but the key lacks: None would call that key right."""
_GRACE_MS = 5000
_CHECK_S = 5.0
"""How long a server is waited for that is asked only what it is."""


class RedisTarget(
    Auditable,
    Describable,
    Fenced,
    Inspectable,
    Listable,
    Measurable,
    Paced,
    Plannable,
    Relisting,
    Relocatable,
    ScratchAreas,
):
    """One route's keys in one database of a server: Redis from 7.0 on, or Valkey.

    A hash is replaced by MULTI, DEL, HSET, PEXPIREAT, EXEC (R62, R66). That is enough for "whole or not at all": after
    the DEL nothing can be of the wrong type, memory is judged before EXEC begins, and a connection that dies earlier
    discards the lot. A Lua script would add a permission, a limit on fields and a script to load again.
    """

    Connection: TypeAlias = configuration.Connection
    Placement: TypeAlias = configuration.Placement

    REPEATED: ClassVar[frozenset[str]] = frozenset(("expires", "score", "location", "entry", "member", "json"))
    """Keys of a placement that repeat what a mapper says: they stand beside a mapper that has them, or one's own."""

    def __init__(self, connection: Connection, placement: Placement, route: str, /, *, timing: Timing = TIMING) -> None:
        """Take the options without connecting; raises ValueError for options that cannot be served."""
        configuration.check(connection, placement)
        self._json = placement.json
        self._shared = configuration.shared_type(placement)
        self._own_keys = OwnKeys.of(placement.key, route, shared=self._shared is not None)
        self._ttl_ms = placement.ttl_s * 1000 if placement.ttl_s is not None else None
        self._url = connection.url
        self._allow_eviction = connection.allow_eviction
        self._deadline_s = connection.retry_deadline_s
        self._server: Server
        if connection.cluster:
            self._server = Cluster(connection, timing=timing)
        else:
            self._server = Server(
                connections_of(connection), connection.retry_deadline_s, connection.durability, timing=timing
            )
        place = re.sub(r"(:\d+)/\d+$", r"\1", self._server.place)
        self.pace = self._server.pace = pace(place, connection.ceilings(), timing=timing)
        self._limit_bytes: int | None = None
        self._turns = Turns()
        self._fence = TargetFence()
        self._big: list[int] = []
        self._left: list[str] = []
        self._memory_percent = connection.max_memory_percent
        self._began: Statuses | None = None
        self._compared: Statuses | None = None
        self._comparing = threading.Lock()

    @classmethod
    def scratch_areas(cls, name: str, /) -> Sequence[ScratchArea]:
        """Return the areas that a canary of this name may use."""
        return (
            ScratchArea("string", {"key": name + ":{_id}"}),
            ScratchArea("hash", {"key": name + "h:{_id}"}),
        )

    @property
    def records(self) -> tuple[type[Held], ...]:
        """The record types it holds."""
        return RECORDS

    @property
    def territory(self) -> str:
        """The keys of this route, as a text that begins another route's, or is begun by it, if they share a key."""
        return self._own_keys.territory

    def describe_place(self) -> str:
        """Return the route's key, or how its keys begin."""
        own = self._own_keys
        if own.prefix is None:
            return f"key {own.key}"
        return f"keys {own.prefix}*" if own.key is None else f"keys {own.key} and {own.prefix}*"

    def describe_server(self) -> str:
        """Return the product and version of the server."""
        return product_of(self._server, min(_CHECK_S, self._deadline_s)) + (
            " cluster" if isinstance(self._server, Cluster) else ""
        )

    def set_fence(self, fence: Fence, /) -> None:
        """Look at this fence before each pipeline that changes keys."""
        self._fence.set(fence)

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for a server or a key that cannot hold this route."""
        wait_s = self._deadline_s
        in_cluster = isinstance(self._server, Cluster)
        notes = list(transport_notes(self._url, self._server.place))
        notes += [
            note
            for server in self._server.primaries(wait_s)
            for note in check_server(
                server, wait_s, json=self._json, allow_eviction=self._allow_eviction, in_cluster=in_cluster
            )
        ]
        if self._own_keys.key is not None:
            (kind,) = self._server.ask(
                ("TYPE", as_bytes(self._own_keys.key)), key=self._own_keys.key, deadline_s=wait_s
            )
            check_type(kind.decode(), self._own_keys, self._shared)
        return notes

    def inspect_place(self) -> Place:
        """Return which server answers; of keys that documents share, whether the key exists."""
        wait_s = min(_CHECK_S, self._deadline_s)
        product = product_of(self._server, wait_s)
        own, exists = self._own_keys, None
        asked = ["PING", "INFO", "COMMAND INFO"]
        if own.key is not None and self._shared is not None:
            (kind,) = self._server.ask(("TYPE", as_bytes(own.key)), key=own.key, deadline_s=wait_s)
            exists = kind != b"none"
            asked.append("TYPE")
        return Place(f"{product} ({self._server.place})", self.describe_place(), exists, asked)

    @property
    def mapped(self) -> bool:
        """True: no document need be looked at for a key to be made."""
        return True

    def design(self, wishes: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the servers' statuses before the route's first record, for `audit` to compare with."""
        return {**wishes, **as_design(server_statuses(self._server))}

    def follow(self, design: Mapping[str, Any], /) -> None:
        """Take the servers' statuses from before the first record."""
        self._began = of_design(design)

    def recognize(self, design: Mapping[str, Any], /) -> Mapping[str, Any] | None:
        """Return the design with the replication ids that tell the servers from now on; see `server_health`."""
        return recognize(design, server_statuses(self._server))

    def audit(self) -> Sequence[str]:
        """Return why records that were read back may be gone: evictions, and servers that were replaced."""
        return faults(self._began, self._compared, server_statuses(self._server))

    def limited(self) -> bool:
        """Whether the server has a `maxmemory`."""
        return free_bytes(self._server, self._memory_percent) is not None

    def measure(self, records: Sequence[Held], times: float, beside: Mapping[str, int], /) -> tuple[str, int]:
        """Return the server, and the bytes of its memory that so many times these records will take (R71)."""
        place, limit = re.sub(r"(:\d+)/\d+$", r"\1", self._server.place), self._limit()
        now_ms = time.time() * 1000
        fit = [
            record
            for record in records
            if not isinstance(record, Foreign)
            and self._unfit(record) is None
            and too_large(record, limit) is None
            and (record.expires_at_ms is None or record.expires_at_ms > now_ms)
        ]
        size_bytes = int(growth_bytes(self._server, fit, self._fence, self._left) * times)
        left = free_bytes(self._server, self._memory_percent)
        wanted = size_bytes + beside.get(place, 0)
        if left is not None and wanted > left:
            raise PlanError(
                "E-RDS-MEMORY",
                f"this run writes about {size_of(wanted)} to {place}, but {size_of(max(0, left))} are left within"
                f" {self._memory_percent:g} % of its maxmemory; give it more memory, or raise max_memory_percent",
            )
        return place, size_bytes

    def leftovers(self) -> Sequence[str]:
        """Return which scratch keys stay until they expire, as the server refused to remove them."""
        return tuple(self._left)

    def prepare(self) -> str:
        """The place is checked; it has no identity, as a Redis knows none that would survive a restart."""
        self.check()
        return ""

    def write(self, records: Sequence[Held], /) -> Sequence[Rejected]:
        """Write the records, each replacing what its key held whatever its type; return those the server refused.

        A record that has expired leaves its key absent (R65). Records of one key are applied in their order.
        """
        with self._turns.turn() if Entry in set(map(type, records)) else nullcontext():
            return self._write(records)

    def delete(self, addresses: Sequence[str], /) -> None:
        """Delete what the route holds at these addresses; what another route's key holds stays.

        A key of another type holds no member, so its member is absent already.
        """
        existing = [each for each in addresses if self._own_keys.holds(parsed(each)[0]) and self._can_exist(each)]
        kinds = self._kinds(address for address in existing if parsed(address)[1] is not None)
        steps = (
            delete_step(number, address, kinds.get(parsed(address)[0], "none"))
            for number, address in enumerate(existing)
        )
        for _, error in self._server.apply((step for step in steps if step is not None), self._fence):
            if code(error) != "WRONGTYPE":
                raise self._server.refusal(error) from error

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Held]:
        """Return the records at these addresses; what no mapper writes is returned as a Foreign.

        With `ttl_s` a key that lives no longer than that comes back without an expiry, as its record had none, and one
        that never expires with the latest expiry there is.
        """
        with self._comparing:
            if self._compared is None:
                self._compared = server_statuses(self._server)
        records: dict[str, Held] = {}
        waiting = [address for address in addresses if self._can_exist(address)]
        while waiting:
            kinds = self._kinds(waiting)
            now_ms = self._now_ms() if self._ttl_ms is not None else 0
            changed: list[str] = []
            for step, replies in self._server.run(read_steps(waiting, kinds)):
                address = waiting[step.number]
                error = failure(step, replies)
                if error is None:
                    found = self._record(address, kinds[step.key], replies, now_ms)
                    if found is not None:
                        records[address] = found
                elif code(error) != "WRONGTYPE":
                    raise self._server.refusal(error) from error
                else:
                    changed.append(address)  # Its key's type is another since it was asked for.
            waiting = changed
        return records

    def addresses(self) -> Iterator[str]:
        """Yield every address under the route's keys, whoever wrote it; some twice."""
        return self.addresses_anew(lambda: None)

    def addresses_anew(self, anew: Callable[[], object], /) -> Iterator[str]:
        """Yield what `addresses` yields; calls `anew` where it begins anew."""

        def listing() -> Generator[str, None, None]:
            try:
                layout = self._server.layout()
                yield from self._listing()
                if layout is None or layout != self._server.layout():
                    # Keys that were moving may have passed from node to node unseen (R75).
                    raise ConnectionError("slots of the cluster kept moving")
            except LOST:
                # A cursor means nothing to a server that was started anew, so the listing starts anew as well (R75).
                self._server.stale()
                raise

        backoff = Backoff(self._deadline_s, from_failure=True, timing=self._server.timing)
        return retry_each(listing, backoff, resumes=False, passing=LOST, gave_up=self._server.gave_up, anew=anew)

    def close(self) -> None:
        """Release the connections."""
        if self._big:
            _log.warning(
                "W-RDS-BIGKEY %d keys of more than 1 MB went to %s, the largest of %s; reading or deleting one blocks"
                " all other clients meanwhile",
                *(len(self._big), self._server.place, size_of(max(self._big))),
            )
            self._big.clear()
        self._server.close()

    def _write(self, records: Sequence[Held]) -> Sequence[Rejected]:
        rejected: list[Rejected] = []
        late: dict[str, list[int]] = {}
        limit = self._limit() if records else 0
        for step, error in self._server.apply(self._write_steps(records, limit, rejected), self._fence):
            if too_late(error):
                late.setdefault(step.key, []).append(step.number)
            else:
                rejected.append(self._rejected(step.number, records[step.number], error))
        for key, numbers in late.items():
            entries = {number: record for number in numbers if isinstance(record := records[number], Entry)}
            refused = insert(self._server, key, entries.values(), self._deadline_s, self._fence)
            if refused is not None:
                rejected.extend(self._rejected(number, entry, refused) for number, entry in entries.items())
        return sorted(rejected, key=lambda record: record.index)

    def _write_steps(self, records: Sequence[Held], limit: int, rejected: list[Rejected]) -> Iterator[Step]:
        entries: dict[str, tuple[tuple[int, int], int, Entry]] = {}
        for number, record in enumerate(records):
            refused = self._unfit(record)
            if refused is None and isinstance(record, WHOLES):
                step = whole_step(number, record, self._ttl_ms)
                if step.size_bytes > _BIG_BYTES:
                    self._big.append(step.size_bytes)
                if step.size_bytes > limit:
                    refused = too_large(record, limit)
                if refused is None:
                    yield step
            elif refused is None and isinstance(record, Shared):
                refused = too_large(record, limit)
                if refused is None and isinstance(record, Entry):
                    entries[record.address] = (entry_number(record.id) or (0, 0), number, record)
                elif refused is None:
                    yield shared_step(number, record)
            if refused is not None:
                rejected.append(Rejected(number, *refused))
        # In the order of their ids, which is the only one a stream takes them in; the last of an address wins.
        for _, number, entry in sorted(entries.values(), key=lambda each: each[0]):
            yield shared_step(number, entry)

    def _rejected(self, number: int, record: Held, error: Refused) -> Rejected:
        """Return the answer for a record that its key, or JSON, cannot hold; raises PermanentError for all else."""
        if isinstance(record, Json) and "limit" in str(error):
            return Rejected(number, "E-RDS-JSON", "nested deeper, or larger, than the server's JSON module allows")
        if isinstance(record, Json) and not record.readable():
            return Rejected(number, "E-RDS-JSON", "its text is not JSON")
        if code(error) != "WRONGTYPE":
            raise self._server.refusal(error) from error
        return Rejected(number, "E-RDS-TYPE", f"its key holds something that is not a {SHARED[type(record)]}")

    def _unfit(self, record: Held) -> tuple[str, str] | None:
        """Return code and reason for a record that is not to be sent, whatever its size."""
        if not isinstance(record, Foreign) and not self._own_keys.holds(record.key):
            return "E-RDS-KEY", "its key does not belong to this route; correct the route's `key` or the mapper"
        return unfit(record, expiring=self._ttl_ms is not None)

    def _limit(self) -> int:
        if self._limit_bytes is None:
            ((step, replies),) = self._server.run([Step.of(0, "", ("CONFIG", "GET", "proto-max-bulk-len"))])
            # A managed server may keep CONFIG to itself (R70).
            is_known = failure(step, replies) is None and len(replies[0]) == 2
            self._limit_bytes = int(replies[0][1]) if is_known else _VALUE_BYTES
        return self._limit_bytes

    def _can_exist(self, address: str) -> bool:
        """Return whether the server could be asked for the address: that of a rejected record may be beyond it."""
        try:
            return all(len(as_bytes(text)) <= self._limit() for text in parsed(address) if text is not None)
        except UnicodeEncodeError:
            return False

    def _kinds(self, addresses: Iterable[str]) -> dict[str, str]:
        """Return the type of each key that an address names, or names a member of."""
        kinds = {}
        keys = dict.fromkeys(parsed(address)[0] for address in addresses)
        for step, replies in self._server.run(Step.of(0, key, ("TYPE", as_bytes(key))) for key in keys):
            error = failure(step, replies)
            if error is not None:
                raise self._server.refusal(error) from error
            kinds[step.key] = replies[0].decode()
        return kinds

    def _record(self, address: str, kind: str, replies: Sequence[Any], now_ms: int) -> Held | None:
        expires_at_ms, value = replies
        if expires_at_ms == -2:
            return None
        if parsed(address)[1] is not None:
            return record_from(address, kind, value, None if expires_at_ms == -1 else expires_at_ms)
        return record_from(address, kind, value, self._expiry(expires_at_ms, now_ms))

    def _expiry(self, at_ms: int, now_ms: int) -> int | None:
        if self._ttl_ms is None:
            return None if at_ms == -1 else at_ms
        if at_ms == -1:
            return _NEVER
        return None if 0 < at_ms - now_ms <= self._ttl_ms + _GRACE_MS else at_ms

    def _now_ms(self) -> int:
        ((seconds, microseconds),) = self._server.ask(("TIME",))
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _listing(self) -> Iterator[str]:
        """Yield the addresses, through one connection to each server; raises an error of `LOST` if one breaks."""
        shared_sets = self._shared == "set"
        if self._own_keys.key is not None:
            with self._server.wire(self._own_keys.key) as wire:
                yield from under(wire, [as_bytes(self._own_keys.key)], shared_sets=shared_sets)
        if self._own_keys.prefix is None:
            return
        pattern = literal(as_bytes(self._own_keys.prefix)) + b"*"
        for server in self._server.primaries():
            with server.wire() as wire:
                cursor: bytes | None = None
                while cursor != b"0":
                    command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", _PAGE)
                    ((cursor, keys),) = wire.demand([Step.of(0, "", command)])
                    yield from under(wire, keys, shared_sets=shared_sets)
