"""Documents to Redis: a string, a hash, or one member of a sorted set; redis_shapes.py has the other types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from msgspec import Struct

from mappers.contract import Document
from mappers.expiry import Expiry
from mappers.identity import IdEncoding
from mappers.values.fast_path import Direct, Plain, direct
from mappers.values.key_templates import Template, by_identity, key_text


class OwnKey(Struct, frozen=True, gc=False):
    """What fills a key alone."""

    key: str

    @property
    def address(self) -> str:
        """The key."""
        return self.key


class SharedKey(Struct, frozen=True, gc=False):
    """What shares its key with others."""

    key: str

    @property
    def expires_at_ms(self) -> int | None:
        """None: Redis cannot expire a part of a key."""
        return None


class String(OwnKey, frozen=True, gc=False):
    """A string value under one key."""

    value: bytes
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the value's bytes as they are: key order within JSON counts (R11)."""
        return b"string %b " % expiry_text(self.expires_at_ms) + self.value


class Hash(OwnKey, frozen=True, gc=False):
    """A hash under one key: field names and values, both bytes; a hash without fields does not exist in Redis."""

    fields: tuple[tuple[bytes, bytes], ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the fields, each with its length, sorted by name: a hash has no order."""
        parts = [b"%d %b %d %b" % (len(name), name, len(value), value) for name, value in sorted(self.fields)]
        return b"hash %b " % expiry_text(self.expires_at_ms) + b" ".join(parts)


class Member(SharedKey, frozen=True, gc=False):
    """One member of a sorted set with its score."""

    member: str
    score: float

    @property
    def address(self) -> str:
        """JSON of the key and the member."""
        return member_address(self.key, self.member)

    def canonical(self) -> bytes:
        """Return the shortest text of the score; Redis keeps no sign of zero."""
        return repr(self.score + 0.0).encode()


def expiry_text(expires_at_ms: int | None) -> bytes:
    """Return how a canonical form says when a key expires."""
    return b"never" if expires_at_ms is None else b"%d" % expires_at_ms


def direct_by(plain: Plain, key: Template, expiry: Expiry) -> Direct | None:
    """Return what makes the texts of plain documents; None where the expiry has to see the whole document."""
    if expiry.paths is None:
        return None
    return direct(plain, (*key.paths, *expiry.paths), typed=key.encoding == "typed")


def default_key(route: str) -> str:
    """Return the key template of a route that says none."""
    return f"{route}:{{_id}}"


def member_address(key: str, member: str) -> str:
    """Return the address of one member of a key that many documents share: JSON of both."""
    return orjson.dumps([key, member]).decode()


def member_addresses(
    key: Template, member: str, identity: Document, encoding: IdEncoding = "typed"
) -> Sequence[str] | None:
    """Return the address of a member of which only the `_id` is known; None where key or member need other fields."""
    if not by_identity((*key.paths, member)):
        return None
    return [member_address(key.fill(identity), key_text(identity, member, encoding))]


class Set(OwnKey, frozen=True, gc=False):
    """A set under one key: its members in any order, each once; a set without members does not exist in Redis."""

    members: tuple[bytes, ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the members, each with its length, sorted: a set has no order."""
        return b"set %b " % expiry_text(self.expires_at_ms) + _measured(sorted(self.members))


class List(OwnKey, frozen=True, gc=False):
    """A list under one key, in its order; a list without elements does not exist in Redis."""

    elements: tuple[bytes, ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the elements, each with its length, in their order."""
        return b"list %b " % expiry_text(self.expires_at_ms) + _measured(self.elements)


class SetMember(SharedKey, frozen=True, gc=False):
    """One member of a set that many documents share."""

    member: str

    @property
    def address(self) -> str:
        """JSON of the key and the member."""
        return member_address(self.key, self.member)

    def canonical(self) -> bytes:
        """Return the same for every member: the address says all there is."""
        return b"member"


class Entry(SharedKey, frozen=True, gc=False):
    """One entry of a stream that many documents share: its id, and names and values in their order."""

    id: str
    """Two whole numbers of 64 bits, such as ``1577836800001-0``; not both are zero."""
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def address(self) -> str:
        """JSON of the key and the id."""
        return member_address(self.key, self.id)

    def canonical(self) -> bytes:
        """Return the names and values, each with its length, in their order."""
        return b"entry " + _measured([text for field in self.fields for text in field])


def _measured(texts: Iterable[bytes]) -> bytes:
    return b" ".join(b"%d %b" % (len(text), text) for text in texts)
