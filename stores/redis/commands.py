"""One shape of record after another in Redis's own commands: how it is refused, written, read and listed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from hiredis import pack_command

from mappers.redis.json_document import Json
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from stores.redis.client import Command, Step, Wire
from stores.redis.keys import address_of, as_bytes, as_text, parsed
from stores.throttling.batches import cut

BATCH = 5_000
"""Fields or elements in one command, so that no command grows with the document."""
_PAGE = "1000"
_ENTRIES = "100"
"""Entries come with their values, so fewer of them make a page."""
INT64 = 2**63 - 1
JSON = "ReJSON-RL"
"""The type that a server's JSON module gives its keys."""
_UINT64 = 2**64 - 1
_NAME = itemgetter(0)
_ENTRY_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something at an address that no mapper of ours writes; it equals no record, so it is seen as differing."""

    key: str
    kind: str
    """The type the server names, such as ``stream``."""

    @property
    def address(self) -> str:
        """The key."""
        return self.key

    @property
    def expires_at_ms(self) -> int | None:
        """None: nothing of ours waits for it to go."""
        return None

    def canonical(self) -> bytes:
        """Return what no other record returns."""
        return b"foreign " + self.kind.encode()


Whole = String | Hash | Set | List | Json
"""What fills a key alone and may expire with it."""
Shared = Member | SetMember | Entry
"""What shares its key with others and cannot expire."""
Held = Whole | Shared | Foreign
"""What an address can be read as; a Foreign is never written."""

WHOLES = (String, Hash, Set, List, Json)
RECORDS: tuple[type[Held], ...] = (*WHOLES, Member, SetMember, Entry)
SHARED: Mapping[type[Held], str] = {Member: "sorted set", SetMember: "set", Entry: "stream"}
"""What a key must be to hold such records."""


def unfit(record: Held, *, expiring: bool) -> tuple[str, str] | None:
    """Return code and reason for a record that is not to be sent, whatever its size.

    One that is, and is not too large, the server can refuse by type only. It answers a text beyond its limit by closing
    the connection, which would look like a failure to retry.
    """
    try:
        # Text that is no Unicode would share its bytes, and so its address, with another text.
        record.key.encode()
    except UnicodeEncodeError:
        return "E-RDS-KEY", "its key is not valid Unicode"
    at_ms = record.expires_at_ms
    if at_ms is not None and at_ms > INT64:
        return "E-RDS-EXPIRY", "its expiry is beyond 64 bits"
    # The usual records, of which no more is to be said than this.
    if type(record) is String:
        return None
    if type(record) is Hash and record.fields:
        repeats = len(set(map(_NAME, record.fields))) < len(record.fields)
        return ("E-RDS-FIELDS", "two fields of the hash have the same name") if repeats else None
    if isinstance(record, Foreign):
        return "E-RDS-RECORD", "it is of a kind that no mapper makes"
    if isinstance(record, Shared) and expiring:
        return "E-RDS-EXPIRY", f"a part of a {SHARED[type(record)]} cannot expire; drop ttl_s from the route"
    return _contents_unfit(record)


def too_large(record: Whole | Shared, limit: int) -> tuple[str, str] | None:
    """Return code and reason for a record with a text beyond the server's limit."""
    longest = max(len(record.key.encode()), *(len(text) for text in _texts(record)))
    return (
        ("E-RDS-SIZE", f"a key or value has {longest} bytes; the server accepts {limit}") if longest > limit else None
    )


def _contents_unfit(record: Whole | Shared) -> tuple[str, str] | None:
    match record:
        case Member(member=member) | SetMember(member=member) if not _is_unicode(member):
            return "E-RDS-KEY", "its member is not valid Unicode"
        case Member(score=score) if math.isnan(score):
            return "E-RDS-SCORE", "NaN cannot order a sorted set"
        case Hash(fields=()) | Set(members=()) | List(elements=()) | Entry(fields=()):
            return "E-RDS-EMPTY", f"a {type(record).__name__.lower()} without content cannot exist"  # R67
        case Set(members=members) if len(set(members)) < len(members):
            return "E-RDS-MEMBERS", "two members of the set are the same"
        case Entry(id=text) if (number := entry_number(text)) is None or number == (0, 0):
            return "E-RDS-ENTRY", "its id is not two whole numbers of 64 bits, or is 0-0"
        case _:
            return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(record: Whole | Shared) -> Iterator[bytes]:
    match record:
        case String(value=value) | Json(value=value):
            yield value
        case Hash(fields=fields) | Entry(fields=fields):
            for field in fields:
                yield from field
        case Set(members=texts) | List(elements=texts):
            yield from texts
        case Member(member=member) | SetMember(member=member):
            yield member.encode()


def entry_number(text: str) -> tuple[int, int] | None:
    """Return the two numbers of a stream's id, which order the ids; None for what is no id."""
    if not _ENTRY_ID.fullmatch(text):
        return None
    front, back = map(int, text.split("-"))
    return (front, back) if max(front, back) <= _UINT64 else None


def shared_step(number: int, record: Shared) -> Step:
    """Return the step that writes the record under its key, replacing what its address held; a stream refuses that."""
    key = record.key.encode()
    command: Command
    if isinstance(record, Member):
        command = ("ZADD", key, repr(float(record.score)), record.member)
    elif isinstance(record, SetMember):
        command = ("SADD", key, record.member)
    else:
        command = added(record)
    # A key that expires would take the record with it (R66).
    return Step.of(number, record.key, command, ("PERSIST", key))


def added(record: Entry) -> Command:
    """Return the command that appends an entry."""
    return ("XADD", record.key.encode(), record.id, *(text for field in record.fields for text in field))


def whole_step(number: int, record: Whole, ttl_ms: int | None) -> Step:
    """Return what makes the record the one thing under its key, with the life it asks for (R62, R66)."""
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
        packed = pack_command(("SET", key, record.value, *(("PX" + life[0], life[1]) if life else ())))
        return Step(number, record.key, (packed,), False, len(packed))
    commands: list[Command] = [("DEL", key)]
    if isinstance(record, Hash):
        commands.extend([("HSET", key, *chain.from_iterable(part)) for part in cut(record.fields, BATCH)])
    elif isinstance(record, Json):
        commands.append(("JSON.SET", key, "$", record.value))
    elif isinstance(record, Set):
        commands.extend(("SADD", key, *part) for part in cut(record.members, BATCH))
    else:
        commands.extend(("RPUSH", key, *part) for part in cut(record.elements, BATCH))
    if life:
        commands.append(("PEXPIRE" + life[0], key, life[1]))
    return Step.together(number, record.key, *commands)


def delete_step(number: int, address: str, kind: str) -> Step | None:
    """Return what leaves nothing at the address, or None where a key of that type can hold nothing at it."""
    key, member = parsed(address)
    name = as_bytes(key)
    if member is None:
        return Step.of(number, key, ("UNLINK", name))
    if kind == "stream" and entry_number(member) is None:
        return None
    command = {"zset": "ZREM", "set": "SREM", "stream": "XDEL"}.get(kind)
    return Step.of(number, key, (command, name, as_bytes(member))) if command is not None else None


def read_steps(addresses: Sequence[str], kinds: Mapping[str, str]) -> Iterator[Step]:
    """Yield what reads each address, the value beside its expiry so that they belong together."""
    for number, address in enumerate(addresses):
        key, member = parsed(address)
        command = _reading(as_bytes(key), member, kinds[key])
        if command is not None:
            yield Step.of(number, key, ("PEXPIRETIME", as_bytes(key)), command)


_WHOLE = {"string": "GET", "hash": "HGETALL", "set": "SMEMBERS", JSON: "JSON.GET"}


def _reading(key: bytes, member: str | None, kind: str) -> Command | None:
    if member is not None:
        if kind == "stream":
            return ("XRANGE", key, member, member) if entry_number(member) is not None else None
        single = {"zset": "ZSCORE", "set": "SISMEMBER"}.get(kind)
        return (single, key, as_bytes(member)) if single is not None else None
    if kind == "list":
        return ("LRANGE", key, "0", "-1")
    return None if kind == "none" else (_WHOLE.get(kind, "TYPE"), key)


def record_from(address: str, kind: str, value: Any, expires_at_ms: int | None) -> Held | None:
    """Return what a reading command's reply means, or None for nothing at the address."""
    if value is None or value == [] or value == 0:
        return None
    key, member = parsed(address)
    if member is not None:
        if expires_at_ms is not None:
            # No mapper gives a member an expiry, so one that goes with its key is not what was written.
            return Foreign(key, f"{kind} that expires")
        if kind == "zset":
            return Member(key, member, float(value))
        return SetMember(key, member) if kind == "set" else Entry(key, member, _pairs(value[0][1]))
    if kind in ("string", JSON):
        return (String if kind == "string" else Json)(key, value, expires_at_ms)
    if kind == "hash":
        return Hash(key, _pairs(value), expires_at_ms)
    if kind == "set":
        return Set(key, tuple(value), expires_at_ms)
    return List(key, tuple(value), expires_at_ms) if kind == "list" else Foreign(key, kind)


def _pairs(texts: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def under(wire: Wire, keys: Sequence[bytes], *, shared_sets: bool) -> Iterator[str]:
    """Yield the addresses under the keys: the members of a sorted set, a stream or a shared set, else the key."""
    for key, kind in zip(keys, wire.demand([Step.of(0, "", ("TYPE", key)) for key in keys]), strict=True):
        if kind == b"zset":
            yield from (address_of(key, member) for member in _scanned(wire, "ZSCAN", key, 2))
        elif kind == b"set" and shared_sets:
            yield from (address_of(key, member) for member in _scanned(wire, "SSCAN", key, 1))
        elif kind == b"stream":
            yield from (address_of(key, entry) for entry in _entries(wire, key))
        elif kind != b"none":  # Gone since it was listed.
            yield as_text(key)


def _scanned(wire: Wire, command: str, key: bytes, step: int) -> Iterator[bytes]:
    cursor: bytes | None = None
    while cursor != b"0":
        ((cursor, found),) = wire.demand([Step.of(0, "", (command, key, cursor or b"0", "COUNT", _PAGE))])
        yield from found[::step]


def _entries(wire: Wire, key: bytes) -> Iterator[bytes]:
    start = b"-"
    while True:
        (found,) = wire.demand([Step.of(0, "", ("XRANGE", key, start, "+", "COUNT", _ENTRIES))])
        for entry, _ in found:
            yield entry
        if len(found) < int(_ENTRIES):
            return
        # Not past it: nothing is past the highest id there can be. The last entry of each page is named twice.
        start = entry
