"""Documents to Redis sets, lists and streams: a key of the document's own, or one member of a key that many share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, Losses, MappingError
from mappers.documents.fields import MISSING, Template, by_identity, key_text, lookup
from mappers.expiry import Expires, Expiry
from mappers.identity import IdEncoding, identity
from mappers.redis.records import (
    OwnKey,
    SharedKey,
    default_key,
    expiry_text,
    hash_fields,
    member_address,
    member_addresses,
)
from mappers.values.json_values import JsonValues, flat_text, milliseconds, redis_json


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


class SetMapper:
    """One document to a set of its own (`values`), or to a member of sets that many share (`member`)."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its sets."""

        values: str | None = None
        """The array whose elements become the members of a set of the document's own; or say `member`."""
        member: str | None = None
        """The field that names the document in a set that many share; or say `values`."""
        each: str | None = None
        """With `member`: an array whose elements stand one by one in its place in `key`, such as ``tag:{tags}``."""
        key: str | None = None
        """Key template; with `values` the route's name, a colon and {_id} unless said, else the route's name."""
        expires: str | Expires | None = None
        """With `values`: when the key expires: at a date, some time after it, or by the TTL index (from_index)."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for those that do not fit together."""
        if (options.values is None) == (options.member is None):
            raise ValueError(
                "says both values and member; a set is one document's own or shared by many"
                if options.values is not None
                else "says neither values, the array that becomes a set, nor member, the field that joins a shared one"
            )
        if options.values is not None:
            if options.each is not None:
                raise ValueError("each: spreads a `member` over several sets; drop it beside `values`")
            self._key = own_key(options.key, route)
        else:
            if options.expires is not None:
                raise ValueError("expires: a member of a set cannot expire; drop it")
            self._key = Template.parse(options.key or route)
            if options.each is not None and options.each not in self._key.paths:
                raise ValueError(f"each: write {{{options.each}}} in `key`, or every element joins the same set")
        self._options = options
        self._expiry = Expiry(options.expires)
        self._losses = losses
        self._values = redis_json()

    def __call__(self, document: Document, /) -> Iterable[Set | SetMember]:
        """Return the document's set or members; none for an empty array, as an empty set cannot exist (R67)."""
        if self._options.member is not None:
            return self._joined(document, self._options.member)
        field = self._options.values or ""
        elements = element_texts(document, field, self._values)
        members = tuple(dict.fromkeys(elements))
        self._count_repeated(field, len(elements) - len(members))
        if not members:
            return ()
        return (Set(self._key.fill(document), members, self._expiry(document)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return where a document with this `_id` is; None where other fields have a say."""
        if self._options.member is None:
            return self._key.addresses(identity)
        return None if self._options.each else member_addresses(self._key, self._options.member, identity)

    def _joined(self, document: Document, path: str) -> Iterable[SetMember]:
        member, each = key_text(document, path), self._options.each
        if each is None:
            return (SetMember(self._key.fill(document), member),)
        names = each.split(".")
        keys = [self._key.fill(_with(document, names, element)) for element in _array(document, each)]
        distinct = dict.fromkeys(keys)
        self._count_repeated(each, len(keys) - len(distinct))
        return [SetMember(key, member) for key in distinct]

    def _count_repeated(self, field: str, repeated: int) -> None:
        for _ in range(repeated):
            self._losses.add("set_duplicate", field)


class ListMapper:
    """One document to a list of its own: the elements of one array, in their order."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its lists."""

        values: str
        """The array whose elements become the list's."""
        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a key that all documents would share."""
        self._key = own_key(options.key, route)
        self._options = options
        self._expiry = Expiry(options.expires)
        self._values = redis_json()

    def __call__(self, document: Document, /) -> Iterable[List]:
        """Return the document's one list; none for an empty array, as an empty list cannot exist (R67)."""
        elements = element_texts(document, self._options.values, self._values)
        if not elements:
            return ()
        return (List(self._key.fill(document), tuple(elements), self._expiry(document)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the key of a document with this `_id`; None where the key needs other fields."""
        return self._key.addresses(identity)


class StreamMapper:
    """One document to one entry of a stream: a field for each top-level field, as in a hash."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its stream."""

        entry: str
        """The field that orders the entries: `_id` if it is an ObjectId, date or whole number, or a date field."""
        key: str | None = None
        """The stream's key, the route's name unless said; a template spreads documents over several streams."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or route)
        self._entry = options.entry
        self._values = redis_json()

    def __call__(self, document: Document, /) -> Iterable[Entry]:
        """Return the document's one entry."""
        entry = entry_id(document, self._entry)
        return (Entry(self._key.fill(document), entry, hash_fields(document, self._values)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the address of an entry with this `_id`; None where its key or its place need other fields."""
        if not by_identity((*self._key.paths, self._entry)):
            return None
        return [member_address(self._key.fill(identity), entry_id(identity, self._entry))]


def entry_id(document: Document, path: str) -> str:
    """Return a stream id that orders documents by the field and is always the same for a document (R68).

    An ObjectId as `_id` goes whole into the id, its seconds in front: the order of ids is that of `_id`, and the id's
    time is true. Another field gives the milliseconds, and 64 bits of a hash of `_id` tell its equals apart.
    """
    value = lookup(document, path)
    seconds_only = isinstance(value, ObjectId)
    if isinstance(value, ObjectId):
        front = int.from_bytes(value.binary[:4], "big") * 1000
    elif isinstance(value, dt.datetime | DatetimeMS):
        front = milliseconds(value)
    elif isinstance(value, int | Int64) and not isinstance(value, bool):
        front = int(value)
    else:
        what = "is missing" if value is MISSING else f"is {type(value).__name__}, no date, ObjectId or whole number"
        raise MappingError("E-MAP-ENTRY", path, f"needed for the id of a stream's entry but {what}")
    if path != "_id":
        back = int.from_bytes(blake2b(identity(document).encode(), digest_size=8).digest(), "big")
    else:
        back = int.from_bytes(value.binary[4:], "big") if seconds_only else 0
    if front < 0 or (front, back) == (0, 0):
        raise MappingError("E-MAP-ENTRY", path, "before 1970 or not above 0, which no id of a stream can say")
    return f"{front}-{back}"


def own_key(key: str | None, route: str, id_encoding: IdEncoding = "typed") -> Template:
    """Return the template of keys that each hold one document; raises ValueError for one that all would share."""
    template = Template.parse(key or default_key(route), id_encoding)
    if template.constant:
        raise ValueError("key: each document needs a key of its own; write a field such as {_id} in it")
    return template


def element_texts(document: Document, path: str, values: JsonValues) -> list[bytes]:
    """Return the elements of an array as texts; raises MappingError naming the field or element that is none."""
    texts: list[bytes] = []
    for element in _array(document, path):
        try:
            texts.append(flat_text(element, values))
        except MappingError as error:
            at = f"{path}.{len(texts)}"
            raise MappingError(error.code, f"{at}.{error.field}" if error.field else at, error.reason) from None
    return texts


def _array(document: Document, path: str) -> Sequence[Any]:
    value = lookup(document, path)
    if isinstance(value, list):
        return value
    what = "is missing" if value is MISSING else f"is {type(value).__name__}"
    raise MappingError(
        "E-MAP-ARRAY", path, f"an array is needed but it {what}; leave such documents out with the route's `where`"
    )


def _with(document: Mapping[str, Any], names: Sequence[str], value: Any) -> dict[str, Any]:
    """Return the document with another value at a path that exists."""
    name, *rest = names
    return {**document, name: _with(document[name], rest, value) if rest else value}


def _measured(texts: Iterable[bytes]) -> bytes:
    return b" ".join(b"%d %b" % (len(text), text) for text in texts)
