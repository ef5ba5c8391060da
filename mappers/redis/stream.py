"""A document as an entry of a Redis stream."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Recognizing, Record
from mappers.documents.fields import MISSING, lookup
from mappers.identity import identity
from mappers.redis.hash import hash_fields
from mappers.redis.own_key import RedisMapper, needed_fields
from mappers.redis.recognition import hash_fits, possible_ids
from mappers.redis.records import Entry, member_address
from mappers.values.json_values import milliseconds, redis_json
from mappers.values.key_templates import Template, by_identity


class StreamMapper(RedisMapper, Recognizing):
    """One document to one entry of a stream: a field for each top-level field, as in a hash."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its stream."""

        entry: str
        """The field that orders the entries: `_id` if it is an ObjectId, date or whole number, or a date field."""
        key: str | None = None
        """The stream's key, the route's name by default; a template spreads documents over several streams."""

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield "entry", self.entry

    use_cases: ClassVar[Sequence[str]] = ("feed",)

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template."""
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

    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return whether the record is an entry whose key, id and fields may be of the same document."""
        if type(record) is not Entry:
            return False
        texts, fields = self._key.match(record.key), dict(record.fields)
        return texts is not None and hash_fits(fields, texts, "typed") and self._has_id_of(record, fields[b"_id"])

    def takes_any(self, id_kind: str, /) -> bool:
        """Return False: an entry has the fields of its document."""
        return False

    def _has_id_of(self, entry: Entry, text: bytes) -> bool:
        """Return whether the entry's id may be of a document of whose `_id` this is the text."""
        front, _, back = entry.id.partition("-")
        ids = possible_ids(text)
        if ids is None:
            return True
        if self._entry != "_id":
            return any(back == str(_hash(each)) for each in ids)
        if ObjectId.is_valid(text.decode(errors="replace")):
            return entry.id == entry_id({"_id": ObjectId(text.decode())}, "_id")
        return back == "0" and any(f"{kind}:{front}" in ids for kind in ("n", "d"))


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
        what = "is missing" if value is MISSING else f"is {type(value).__name__}, not a date, ObjectId or whole number"
        raise MappingError("E-MAP-ENTRY", path, f"needed for the id of a stream's entry but {what}")
    if path != "_id":
        back = _hash(identity(document))
    else:
        back = int.from_bytes(value.binary[4:], "big") if seconds_only else 0
    if front < 0 or (front, back) == (0, 0):
        raise MappingError("E-MAP-ENTRY", path, "before 1970 or not above 0, which no stream entry id can hold")
    return f"{front}-{back}"


def _hash(typed_id: str) -> int:
    return int.from_bytes(blake2b(typed_id.encode(), digest_size=8).digest(), "big")
