"""Redis and Valkey as a target: strings, hashes and sorted sets under the keys that one route owns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappers.fields import Template
from mappers.redis import Hash, Member, String, default_key
from stores.contract import Rejected
from stores.errors import PermanentError, PlanError
from stores.redis_wire import LOST, Command, Server, Step, Wire, code, failure, parsed_info
from stores.retrying import Backoff

_FIELDS = 5_000
"""Hash fields in one command, so that no command grows with the document."""
_VALUE_BYTES = 512 * 2**20
"""The longest key or value a server takes unless its `proto-max-bulk-len` says otherwise (R76)."""
_PAGE = "1000"
_INT64 = 2**63 - 1
_NEVER = _INT64
"""Read in place of an expiry that `ttl_s` promised but the key lacks: None would call that key right."""
_GRACE_MS = 5000
_CHECK_S = 5.0
"""How long `check` waits for a server: a wrong host name should not take the whole retry deadline."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something at an address that no mapper of ours writes; it equals no record, so it is seen as differing."""

    key: str
    kind: str
    """The type the server names, such as ``list``."""

    @property
    def address(self) -> str:
        """The key."""
        return self.key

    @property
    def expires_at_ms(self) -> int | None:
        """None: nothing of ours waits for it to go."""
        return None

    def canonical(self) -> bytes:
        """Return what no String, Hash or Member returns."""
        return b"foreign " + self.kind.encode()


Held = String | Hash | Member | Foreign
"""What an address can be read as; a Foreign is never written."""


class RedisTarget:
    """One route's keys in one database of a server: Redis from 7.0 on, or Valkey.

    A hash is replaced by MULTI, DEL, HSET, PEXPIREAT, EXEC (R62, R66). That is enough for "whole or not at all": after
    the DEL nothing can be of the wrong type, memory is judged before EXEC begins, and a connection that dies earlier
    discards the lot. A Lua script would add a permission, a limit on fields and a script to load again.
    """

    @dataclass(frozen=True, slots=True)
    class Connection:
        """How the server is reached."""

        url: str
        """``redis://[user:password@]host[:port][/database]``; ``rediss`` for TLS, ``unix`` for a socket's path."""
        allow_eviction: bool = False
        """Write also to a server that may drop keys when its memory is full."""
        retry_deadline_s: float = 600
        """How long commands of which none gets through are tried again before the run stops, fit to be resumed."""

    @dataclass(frozen=True, slots=True)
    class Placement:
        """Which keys a route owns and how long they live."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said, a sorted set's the route's name alone."""
        ttl_s: int | None = None
        """Seconds that a key lives after it was last written; not beside `expires`."""
        expires: str | None = None
        """A date field at which the key expires."""
        score: str | None = None
        """The numeric field that orders the members: says that the keys hold sorted sets."""

    def __init__(self, connection: Connection, placement: Placement, route: str, /) -> None:
        """Take the options without connecting; raises ValueError for options that cannot be served."""
        if placement.ttl_s is not None:
            if not 0 < placement.ttl_s <= 10**12:
                raise ValueError(f"ttl_s is {placement.ttl_s}; give a number of seconds above 0")
            if placement.expires is not None:
                raise ValueError("ttl_s and expires both say when a key expires; drop one of them")
            if placement.score is not None:
                raise ValueError("ttl_s cannot expire a member of a sorted set; drop it")
        self._own = _Own.of(placement, route)
        self._sorted = placement.score is not None
        self._ttl_ms = placement.ttl_s * 1000 if placement.ttl_s is not None else None
        self._allow_eviction = connection.allow_eviction
        self._deadline_s = connection.retry_deadline_s
        self._server = Server(connection.url, connection.retry_deadline_s)
        self._limit_bytes: int | None = None

    @property
    def records(self) -> tuple[type[Held], ...]:
        """The record types it holds."""
        return (String, Hash, Member)

    @property
    def territory(self) -> str:
        """The keys of this route, as a text that begins another route's, or is begun by it, if they share a key."""
        return self._own.territory

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for a server or a key that cannot hold this route."""
        wait_s = min(_CHECK_S, self._deadline_s)
        _, described, told = self._server.ask(
            ("PING",), ("COMMAND", "INFO", "PEXPIRETIME"), ("INFO",), deadline_s=wait_s
        )
        info, place = parsed_info(told), self._server.place
        if not described or not described[0]:
            found = info.get("valkey_version") or info.get("redis_version", "unknown")
            raise PlanError("E-RDS-VERSION", f"{place} is version {found} without PEXPIRETIME; use 7.0 or later")
        if info.get("cluster_enabled") == "1":
            raise PlanError("E-RDS-CLUSTER", f"{place} is a cluster, which is not supported yet; use one server")
        if info.get("role") == "slave":
            raise PlanError("E-RDS-REPLICA", f"{place} is a replica, which takes no writes; give its primary's URL")
        if self._own.key is not None:
            (kind,) = self._server.ask(("TYPE", _bytes(self._own.key)), deadline_s=wait_s)
            self._check_type(kind.decode())
        return self._check_eviction(info)

    def prepare(self) -> str:
        """The place is checked; it has no identity, as a Redis knows none that would survive a restart."""
        self.check()
        return ""

    def write(self, records: Sequence[Held], /) -> Sequence[Rejected]:
        """Every record is held, replacing whatever type stood under its key, or is in the answer.

        A record that has expired leaves its key absent (R65). Records of one key are applied in their order.
        """
        rejected: list[Rejected] = []
        limit = self._limit() if records else 0
        for step, replies in self._server.run(self._write_steps(records, limit, rejected)):
            error = failure(step, replies)
            if error is None:
                continue
            if code(error) != "WRONGTYPE":
                raise self._server.refusal(error) from error
            rejected.append(Rejected(step.number, "E-RDS-TYPE", "its key holds something that is no sorted set"))
        return sorted(rejected, key=lambda one: one.index)

    def delete(self, addresses: Sequence[str], /) -> None:
        """Nothing is held at these addresses; raises PermanentError, deleting nothing, for one the route does not own.

        A key of another type holds no member, so its member is absent already.
        """
        steps = []
        for number, address in enumerate(addresses):
            key, member = _parsed(address)
            if not self._own.holds(key):
                raise PermanentError("E-RDS-KEY", "a key to delete is not among those of this route; see its `key`")
            if not self._can_exist(address):
                continue
            name = _bytes(key)
            steps.append(Step.of(number, key, ("UNLINK", name) if member is None else ("ZREM", name, _bytes(member))))
        for step, replies in self._server.run(steps):
            error = failure(step, replies)
            if error is not None and code(error) != "WRONGTYPE":
                raise self._server.refusal(error) from error

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Held]:
        """Return what is held at these addresses; what no mapper writes comes back as a Foreign.

        With `ttl_s` a key that lives no longer than that comes back without an expiry, as its record had none, and one
        that never expires with the latest expiry there is.
        """
        held: dict[str, Held] = {}
        waiting = [address for address in addresses if self._can_exist(address)]
        while waiting:
            kinds = self._kinds(waiting)
            now_ms = self._now_ms() if self._ttl_ms is not None else 0
            changed: list[str] = []
            for step, replies in self._server.run(_read_steps(waiting, kinds)):
                address = waiting[step.number]
                error = failure(step, replies)
                if error is None:
                    record = self._record(address, kinds.get(address, "zset"), replies, now_ms)
                    if record is not None:
                        held[address] = record
                elif code(error) != "WRONGTYPE":
                    raise self._server.refusal(error) from error
                elif address in kinds:
                    changed.append(address)  # Its type is another since it was asked for.
            waiting = changed
        return held

    def addresses(self) -> Iterator[str]:
        """Yield every address under the route's keys, whoever wrote it; some twice."""
        backoff: Backoff | None = None
        while True:
            try:
                yield from self._listing()
            except LOST as error:
                # A cursor means nothing to a server that was started anew, so the listing starts anew as well (R75).
                backoff = backoff or Backoff(self._deadline_s)
                if not backoff.wait():
                    raise self._server.gave_up(error) from error
            else:
                return

    def close(self) -> None:
        """Release the connections."""
        self._server.close()

    def _write_steps(self, records: Sequence[Held], limit: int, rejected: list[Rejected]) -> Iterator[Step]:
        for number, record in enumerate(records):
            refused = self._unfit(record, limit)
            if refused is not None:
                rejected.append(Rejected(number, *refused))
            elif isinstance(record, Member):
                yield _member_step(number, record)
            elif not isinstance(record, Foreign):
                yield _key_step(number, record, self._ttl_ms)

    def _unfit(self, record: Held, limit: int) -> tuple[str, str] | None:
        """Return code and reason for a record that is not to be sent; one that is, the server can refuse by type only.

        The server answers a text beyond its limit by closing the connection, which would look like a failure to retry.
        """
        if isinstance(record, Foreign):
            return "E-RDS-RECORD", "it stands for something that no mapper gives"
        if not self._own.holds(record.key):
            return "E-RDS-KEY", "its key is not among those of this route; see the route's `key`"
        try:
            # Text that is no Unicode would share its bytes, and so its address, with another text.
            sizes = [len(record.key.encode()), len(record.member.encode()) if isinstance(record, Member) else 0]
        except UnicodeEncodeError:
            return "E-RDS-KEY", "its key or member is not valid Unicode"
        if isinstance(record, Member):
            if self._ttl_ms is not None:
                return "E-RDS-EXPIRY", "a member of a sorted set cannot expire; drop ttl_s from the route"
            if math.isnan(record.score):
                return "E-RDS-SCORE", "NaN cannot order a sorted set"
        elif record.expires_at_ms is not None and record.expires_at_ms > _INT64:
            return "E-RDS-EXPIRY", "its expiry is beyond 64 bits"
        if isinstance(record, String):
            sizes.append(len(record.value))
        elif isinstance(record, Hash):
            if not record.fields:
                return "E-RDS-EMPTY", "a hash without fields cannot exist"  # R67
            if len({name for name, _ in record.fields}) < len(record.fields):
                return "E-RDS-FIELDS", "two fields of the hash have the same name"
            sizes.extend(len(text) for field in record.fields for text in field)
        if max(sizes) > limit:
            return "E-RDS-SIZE", f"a key or value has {max(sizes)} bytes; the server takes {limit}"
        return None

    def _limit(self) -> int:
        if self._limit_bytes is None:
            ((step, replies),) = self._server.run([Step.of(0, "", ("CONFIG", "GET", "proto-max-bulk-len"))])
            # A managed server may keep CONFIG to itself (R70).
            told = failure(step, replies) is None and len(replies[0]) == 2
            self._limit_bytes = int(replies[0][1]) if told else _VALUE_BYTES
        return self._limit_bytes

    def _can_exist(self, address: str) -> bool:
        """Return whether the server could be asked for the address: that of a rejected record may be beyond it."""
        try:
            return all(len(_bytes(text)) <= self._limit() for text in _parsed(address) if text is not None)
        except UnicodeEncodeError:
            return False

    def _kinds(self, addresses: Sequence[str]) -> dict[str, str]:
        """Return the type under each address that is a key; a member is asked of a sorted set in any case."""
        keys = [address for address in addresses if _parsed(address)[1] is None]
        kinds = {}
        for step, replies in self._server.run(Step.of(0, key, ("TYPE", _bytes(key))) for key in keys):
            error = failure(step, replies)
            if error is not None:
                raise self._server.refusal(error) from error
            kinds[step.key] = replies[0].decode()
        return kinds

    def _record(self, address: str, kind: str, replies: Sequence[Any], now_ms: int) -> Held | None:
        expires_at_ms, value = replies
        if expires_at_ms == -2 or value is None or value == []:
            return None
        key, member = _parsed(address)
        if member is not None:
            # No mapper gives a member an expiry, so one that goes with its set is not what was written.
            return Member(key, member, float(value)) if expires_at_ms == -1 else Foreign(key, "zset that expires")
        expiry = self._expiry(expires_at_ms, now_ms)
        if kind == "string":
            return String(key, value, expiry)
        if kind == "hash":
            return Hash(key, tuple(zip(value[::2], value[1::2], strict=True)), expiry)
        return Foreign(key, kind)

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
        """Yield the addresses through one connection; raises one of `LOST` when that is gone."""
        with self._server.wire() as wire:
            if self._own.key is not None:
                yield from _under(wire, [_bytes(self._own.key)])
            if self._own.prefix is None:
                return
            pattern = _literal(_bytes(self._own.prefix)) + b"*"
            cursor: bytes | None = None
            while cursor != b"0":
                command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", _PAGE)
                ((cursor, keys),) = wire.demand([Step.of(0, "", command)])
                yield from _under(wire, keys)

    def _check_type(self, kind: str) -> None:
        if self._sorted:
            expected: tuple[str, ...] = ("none", "zset")
        elif self._own.prefix is None:
            expected = ("none", "string", "hash", "zset")
        else:
            return  # A route of documents owns its name as a key only because a sorted set might be there.
        if kind not in expected:
            raise PlanError(
                "E-RDS-TYPE",
                f"key {self._own.key!r} holds a {kind} where {' or '.join(expected[1:])} is written; "
                "remove it or choose another key",
            )

    def _check_eviction(self, info: Mapping[str, str]) -> Sequence[str]:
        policy, place = info.get("maxmemory_policy"), self._server.place
        if policy == "noeviction":
            return ()
        if policy is None:
            return (f"{place} does not say whether it drops keys when its memory is full",)
        if info.get("maxmemory") == "0":
            return (f"{place} has maxmemory-policy {policy}: once it has a maxmemory, it drops keys silently",)
        if not self._allow_eviction:
            raise PlanError(
                "E-RDS-EVICTION",
                f"{place} has maxmemory-policy {policy} and drops keys silently when its memory is full; "
                "set noeviction there, or accept the loss with allow_eviction: true",
            )
        return (f"{place} has maxmemory-policy {policy}: what is written may be dropped at any time",)


@dataclass(frozen=True, slots=True)
class _Own:
    """The keys of a route: one whole key, all that start with a prefix, or both."""

    key: str | None
    prefix: str | None

    @classmethod
    def of(cls, placement: RedisTarget.Placement, route: str) -> _Own:
        """Return what the placement gives the route; raises ValueError where that could be any key."""
        if placement.key is None:
            # Without `score`, a mapper from elsewhere may still keep a sorted set under the route's name.
            prefix = Template.parse(default_key(route)).prefix if placement.score is None else None
            own = cls(route, prefix)
        else:
            template = Template.parse(placement.key)
            own = cls(template.text, None) if template.constant else cls(None, template.prefix)
        start = own.key if own.prefix is None else own.prefix
        if not start:
            raise ValueError(
                f"key {placement.key!r} makes the whole database this route's; "
                f"start it with a text of its own, such as {default_key(route)!r}"
            )
        if start.startswith('["'):
            raise ValueError(f'key {start!r} starts with [" as the address of a member does; start it otherwise')
        return own

    def holds(self, key: str) -> bool:
        """Return whether the key belongs to the route."""
        return key == self.key or (self.prefix is not None and key.startswith(self.prefix))

    @property
    def territory(self) -> str:
        """A text that begins another's, or is begun by it, exactly if both own some key.

        Colons are doubled to tell three places apart: the whole key ``a`` is ``a:`` and NUL, the prefix ``a:`` is
        ``a::``, and both together are ``a:``, which begins either.
        """
        if self.prefix is not None and self.key is None:
            return self.prefix.replace(":", "::")
        whole = (self.key or "").replace(":", "::") + ":"
        return whole if self.prefix is not None else whole + "\0"


def _member_step(number: int, record: Member) -> Step:
    key = record.key.encode()
    # A set that expires would take the member with it (R66).
    score = repr(float(record.score))
    return Step.of(number, record.key, ("ZADD", key, score, record.member), ("PERSIST", key))


def _key_step(number: int, record: String | Hash, ttl_ms: int | None) -> Step:
    key, at_ms = record.key.encode(), record.expires_at_ms
    if at_ms is not None and at_ms <= 0:
        # SET takes no such date, although it asks for no more than absence (R65).
        return Step.of(number, record.key, ("UNLINK", key))
    life: tuple[str, ...] = ()
    if at_ms is not None:
        life = ("AT", str(at_ms))
    elif ttl_ms is not None:
        life = ("", str(ttl_ms))
    if isinstance(record, String):
        return Step.of(number, record.key, ("SET", key, record.value, *(("PX" + life[0], life[1]) if life else ())))
    commands: list[Command] = [("MULTI",), ("DEL", key)]
    for start in range(0, len(record.fields), _FIELDS):
        part = record.fields[start : start + _FIELDS]
        commands.append(("HSET", key, *(text for field in part for text in field)))
    if life:
        commands.append(("PEXPIRE" + life[0], key, life[1]))
    return Step.of(number, record.key, *commands, ("EXEC",), atomic=True)


def _read_steps(addresses: Sequence[str], kinds: Mapping[str, str]) -> Iterator[Step]:
    """Yield what reads each address, the value beside its expiry so that they belong together."""
    for number, address in enumerate(addresses):
        key, member = _parsed(address)
        name = _bytes(key)
        value: Command
        if member is not None:
            value = ("ZSCORE", name, _bytes(member))
        elif kinds[address] == "none":
            continue
        else:
            value = ({"string": "GET", "hash": "HGETALL"}.get(kinds[address], "TYPE"), name)
        yield Step.of(number, key, ("PEXPIRETIME", name), value)


def _under(wire: Wire, keys: Sequence[bytes]) -> Iterator[str]:
    """Yield the addresses under the keys: the members of a sorted set, any other key itself."""
    for key, kind in zip(keys, wire.demand([Step.of(0, "", ("TYPE", key)) for key in keys]), strict=True):
        if kind == b"zset":
            yield from _members(wire, key)
        elif kind != b"none":  # Gone since it was listed.
            yield _text(key)


def _members(wire: Wire, key: bytes) -> Iterator[str]:
    cursor: bytes | None = None
    while cursor != b"0":
        ((cursor, found),) = wire.demand([Step.of(0, "", ("ZSCAN", key, cursor or b"0", "COUNT", _PAGE))])
        yield from (_member_address(_text(key), _text(member)) for member in found[::2])


def _member_address(key: str, member: str) -> str:
    try:
        return Member(key, member, 0.0).address
    except TypeError:  # No mapper gives a text with others' stray bytes, and its address cannot say them.
        return json.dumps([key, member], separators=(",", ":"))


def _parsed(address: str) -> tuple[str, str | None]:
    """Return the key and, of a member's address, the member."""
    if not address.startswith('["'):
        return address, None
    key, member = json.loads(address)
    return key, member


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _literal(text: bytes) -> bytes:
    """Return a glob pattern that matches the text alone."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", text)
