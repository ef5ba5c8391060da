"""The records of Redis: the content of one key, or one member of a key that many documents share."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence

import orjson
from msgspec import Struct

from mappers.contract import Comparable, Document, Restorable
from mappers.identity import IdEncoding, any_text_is_id, may_be_id
from mappers.tree import Elements, Leaf, Names, Tree, json_tree
from mappers.values.key_templates import Template, by_identity, key_text

JSON_RAW = "$raw"
"""The last member of lossless JSON: the document's exact BSON in base64."""
HASH_RAW = "_raw"
"""The field of a lossless hash that holds the document's exact BSON."""
EXPIRY = "(expires)"
"""Stands as a name for when a record expires, in its content."""
VALUE = "(value)"
"""Stands as a name for a content without names."""
SCORE = "(score)"
MEMBERS = "(members)"


class OwnKey(Struct, frozen=True, gc=False):
    """A record that is the only one of its key."""

    key: str

    @property
    def address(self) -> str:
        """The key."""
        return self.key


class SharedKey(Struct, frozen=True, gc=False):
    """A record that shares its key with others."""

    key: str

    @property
    def expires_at_ms(self) -> int | None:
        """None: Redis cannot expire a part of a key."""
        return None


class String(OwnKey, Comparable, Restorable, frozen=True, gc=False):
    """A string value under one key."""

    value: bytes
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the value's bytes as they are: key order within JSON counts (R11)."""
        return b"string %b " % expiry_text(self.expires_at_ms) + self.value

    def content(self) -> Tree:
        """Return the expiry and the names of a JSON object, whose order counts, or the value as a whole."""
        return expiring_tree(self.expires_at_ms, text_tree(self.value, ordered=True), ordered=True)

    def restore(self) -> bytes:
        """Return the BSON in the member JSON_RAW."""
        return json_raw(self.value)


class Hash(OwnKey, Comparable, Restorable, frozen=True, gc=False):
    """A hash under one key: field names and values, both bytes; a hash without fields does not exist in Redis."""

    fields: tuple[tuple[bytes, bytes], ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the fields, each with its length, sorted by name: a hash has no order."""
        parts = [b"%d %b %d %b" % (len(name), name, len(value), value) for name, value in sorted(self.fields)]
        return b"hash %b " % expiry_text(self.expires_at_ms) + b" ".join(parts)

    def content(self) -> Tree:
        """Return the expiry and the fields, in no order."""
        return expiring_tree(
            self.expires_at_ms, Names({_readable(name): text_tree(text) for name, text in self.fields})
        )

    def restore(self) -> bytes:
        """Return the BSON in the field HASH_RAW."""
        return dict(self.fields)[HASH_RAW.encode()]


class Member(SharedKey, Comparable, frozen=True, gc=False):
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

    def content(self) -> Tree:
        """Return the score."""
        return Names({SCORE: Leaf("number", self.score)})


def expiring_tree(expires_at_ms: int | None, content: Tree, *, ordered: bool = False) -> Tree:
    """Return a content together with the expiry of its key."""
    values = dict(content.values) if isinstance(content, Names) else {VALUE: content}
    if expires_at_ms is not None:
        values = {EXPIRY: Leaf("milliseconds", expires_at_ms), **values}
    return Names(values, ordered)


def text_tree(value: bytes, *, ordered: bool = False) -> Tree:
    """Return the tree of bytes that are a JSON object or array; other bytes are one value."""
    if value[:1] in (b"{", b"["):
        try:
            return json_tree(json.loads(value), ordered=ordered)
        except ValueError:
            pass
    try:
        return Leaf("text", value.decode())
    except UnicodeDecodeError:
        return Leaf("bytes", value)


def _readable(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def json_raw(value: bytes) -> bytes:
    """Return the BSON in the member JSON_RAW of lossless JSON."""
    return base64.b64decode(orjson.loads(value)[JSON_RAW], validate=True)


def expiry_text(expires_at_ms: int | None) -> bytes:
    """Return the text of an expiry in a canonical form: ``never``, or epoch milliseconds."""
    return b"never" if expires_at_ms is None else b"%d" % expires_at_ms


def member_address(key: str, member: str) -> str:
    """Return the address of one member of a key that many documents share: JSON of both."""
    return orjson.dumps([key, member]).decode()


def member_addresses(
    key: Template, member: str, identity: Document, encoding: IdEncoding = "typed"
) -> Sequence[str] | None:
    """Return the address of a member, given the `_id` alone; None if key or member need other fields."""
    if not by_identity((*key.paths, member)):
        return None
    return [member_address(key.fill(identity), key_text(identity, member, encoding))]


def member_fits(
    record: Member | SetMember, key: Template, member: str, encoding: IdEncoding = "typed", id_kind: str = ""
) -> bool:
    """Return whether some document may have this member of this key."""
    texts = key.match(record.key, id_kind)
    if texts is None:
        return False
    if member == "_id" and not may_be_id(record.member, encoding, id_kind):
        return False
    return texts.get(member, record.member) == record.member


def takes_any_member(key: Template, member: str | None, encoding: IdEncoding = "typed", id_kind: str = "") -> bool:
    """Return whether any text may be a key's, and any a member's."""
    return key.takes_any(id_kind) and (member != "_id" or any_text_is_id(encoding, id_kind))


class Set(OwnKey, Comparable, frozen=True, gc=False):
    """A set under one key: its members in any order, each once; a set without members does not exist in Redis."""

    members: tuple[bytes, ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the members, each with its length, sorted: a set has no order."""
        return b"set %b " % expiry_text(self.expires_at_ms) + _measured(sorted(self.members))

    def content(self) -> Tree:
        """Return the expiry and the members as one value."""
        return expiring_tree(self.expires_at_ms, Names({MEMBERS: Leaf("set", tuple(sorted(self.members)))}))


class List(OwnKey, Comparable, frozen=True, gc=False):
    """A list under one key, in its order; a list without elements does not exist in Redis."""

    elements: tuple[bytes, ...]
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the expiry and the elements, each with its length, in their order."""
        return b"list %b " % expiry_text(self.expires_at_ms) + _measured(self.elements)

    def content(self) -> Tree:
        """Return the expiry and the elements in their order."""
        return expiring_tree(self.expires_at_ms, Elements([text_tree(element) for element in self.elements]))


class SetMember(SharedKey, frozen=True, gc=False):
    """One member of a set that many documents share."""

    member: str

    @property
    def address(self) -> str:
        """JSON of the key and the member."""
        return member_address(self.key, self.member)

    def canonical(self) -> bytes:
        """Return the same bytes for every member, because the address is all of its content."""
        return b"member"


class Entry(SharedKey, Comparable, frozen=True, gc=False):
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

    def content(self) -> Tree:
        """Return the names and values, whose order counts."""
        return Names({_readable(name): text_tree(text) for name, text in self.fields}, ordered=True)


def _measured(texts: Iterable[bytes]) -> bytes:
    return b" ".join(b"%d %b" % (len(text), text) for text in texts)
