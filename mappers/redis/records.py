"""Documents to Redis: a string, a hash, or one member of a sorted set; redis_shapes.py has the other types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal

import orjson
from bson import Binary, Code, Decimal128, Int64
from msgspec import Struct

from mappers.contract import Document, Losses, MappingError
from mappers.documents.fields import MISSING, Template, by_identity, key_text, lookup
from mappers.documents.irregular import stored_bytes
from mappers.expiry import Expires, Expiry
from mappers.identity import IdEncoding
from mappers.policies import HASH_POLICIES, JSON_POLICIES, Fidelity, HashPolicies, JsonPolicies
from mappers.redis.msgpack import packed
from mappers.values.converter import below
from mappers.values.fast_path import FIELDS, REDIS_JSON, Direct, Plain, direct, most_number
from mappers.values.json_values import NULL_TEXT, JsonValues, flat_text, joined, redis_json
from mappers.values.tags import base64_text

_EXACT_INT = 2**53
"""A sorted set's score is a double: whole numbers are exact only within this (R18)."""
STRING_RAW = "$raw"
"""The last member of a lossless string's JSON: the document's exact BSON in base64."""
HASH_RAW = "_raw"
"""The field of a lossless hash that holds the document's exact BSON."""


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


class StringMapper:
    """One document to one string: the whole document as JSON or MessagePack, names and order kept, or one field raw."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its strings."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""
        format: Literal["json", "msgpack", "raw"] = "json"
        """The string's form: the document as JSON or MessagePack, or the bytes of the one field in `value`."""
        value: str | None = None
        """With `format: raw`: the field, a text or binary, that the string holds as it is; no other field is kept."""
        id_encoding: IdEncoding = "typed"
        """plain: {_id} is the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: JsonPolicies = JSON_POLICIES
        """What becomes of values JSON does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as last member `$raw`; what that cannot restore is rejected."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none, or a field without its format."""
        self._key = Template.parse(options.key or default_key(route), options.id_encoding)
        self._options = options
        self._losses = losses
        self._values = redis_json(options.values, losses)
        self._expiry = Expiry(options.expires)
        if options.format == "raw" and options.value is None:
            raise ValueError("format: raw holds one field; name it in `value`")
        if options.format != "raw" and options.value is not None:
            raise ValueError("value: is for `format: raw`; other formats hold the whole document")
        self._lossless = options.fidelity == "lossless"
        if self._lossless and options.format != "json":
            raise ValueError("fidelity: lossless is kept within JSON; say `format: json`")
        self._direct = None
        if options.format == "json" and not self._lossless:
            self._direct = direct_json(options.values, self._key, self._expiry)

    def __call__(self, document: Document, /) -> Iterable[String]:
        """Return the document's one string."""
        return (self._string(document, self._contents(document)),)

    def straight(self, documents: Sequence[bytes], /) -> Sequence[String | None]:
        """Return the strings of plain documents."""
        return self._direct.records(documents, self._string) if self._direct is not None else ()

    def _string(self, document: Document, contents: bytes, typed: str | None = None) -> String:
        return String(self._key.fill(document, typed), contents, self._expiry(document))

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the key of a document with this `_id`; None where the key needs other fields."""
        return self._key.addresses(identity)

    def _contents(self, document: Document) -> bytes:
        if self._options.format == "json":
            return json_text(document, self._values, lossless=self._lossless)
        if self._options.format == "msgpack":
            return packed(self._values.document(document))
        field = self._options.value or ""
        value = lookup(document, field)
        if isinstance(value, str) and not isinstance(value, Code):
            return value.encode()
        if isinstance(value, bytes):
            if isinstance(value, Binary) and value.subtype != 0:
                self._losses.add("binary_subtype", field)
            return bytes(value)
        what = "is missing" if value is MISSING else f"is {type(value).__name__}"
        raise MappingError("E-MAP-RAW", field, f"a text or binary is needed but it {what}")


class CounterMapper:
    """One document to a string that INCR and DECR count on: one whole number, without its other fields."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its counters."""

        value: str
        """The field with the number."""
        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or default_key(route))
        self._options = options
        self._expiry = Expiry(options.expires)
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[String]:
        """Return the document's one counter."""
        count = self._count(lookup(document, self._options.value))
        return (String(self._key.fill(document), b"%d" % count, self._expiry(document)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the key of a document with this `_id`; None where the key needs other fields."""
        return self._key.addresses(identity)

    def _count(self, value: Any) -> int:
        field = self._options.value
        number = value.to_decimal() if isinstance(value, Decimal128) else value
        if isinstance(number, bool) or not isinstance(number, int | Int64 | float | Decimal):
            what = "is missing" if value is MISSING else f"is {type(value).__name__}, no number"
            raise MappingError("E-MAP-COUNTER", field, f"needed for the counter but {what}")
        finite = number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)
        # An exponent may be so large that the whole number would fill the memory: its size is judged first.
        if not finite or not -(2**63) <= number < 2**63 or number != int(number):
            raise MappingError("E-MAP-COUNTER", field, "a counter holds whole numbers of 64 bits only")
        if number == 0 and not isinstance(number, int) and math.copysign(1, number) < 0:
            self._losses.add("neg_zero", field)
        return int(number)


class HashMapper:
    """One document to one hash: a field for each top-level field, nested values as JSON."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its hashes."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""
        id_encoding: IdEncoding = "typed"
        """plain: {_id} is the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: HashPolicies = HASH_POLICIES
        """What becomes of values a hash does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as field `_raw`; what cannot be restored from it is rejected."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or default_key(route), options.id_encoding)
        self._expiry = Expiry(options.expires)
        self._values = redis_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"
        self._losses = losses
        self._null = options.values.nulls
        plain = replace(FIELDS, most_number=most_number(options.values.int53), null_text=self._null == "tag")
        self._direct = None if self._lossless else direct_by(plain, self._key, self._expiry)

    def __call__(self, document: Document, /) -> Iterable[Hash]:
        """Return the document's one hash; a document always has at least its `_id` as a field."""
        fields: list[tuple[bytes, bytes]] = []
        for name, value, text in _texts(document, self._values):
            # A string may be those bytes too; a hash without its _id might have no field at all.
            if text != NULL_TEXT or isinstance(value, str | bytes) or name == "_id" or self._null == "tag":
                fields.append((name.encode(), text))
            elif self._null == "omit":
                self._losses.add("null_omitted", name)
            else:
                self._losses.add("null_empty", name)
                fields.append((name.encode(), b""))
        if self._lossless:
            if HASH_RAW in document:
                raise MappingError(
                    "E-NAME-COLLISION", HASH_RAW, "the document has a field of this name, which offramp needs"
                )
            fields.append((HASH_RAW.encode(), stored_bytes(document)))
        return (self._hash(document, tuple(fields)),)

    def straight(self, documents: Sequence[bytes], /) -> Sequence[Hash | None]:
        """Return the hashes of plain documents."""
        return self._direct.records(documents, self._hash) if self._direct is not None else ()

    def _hash(self, document: Document, fields: tuple[tuple[bytes, bytes], ...], typed: str | None = None) -> Hash:
        return Hash(self._key.fill(document, typed), fields, self._expiry(document))

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the key of a document with this `_id`; None where the key needs other fields."""
        return self._key.addresses(identity)


class SortedSetMapper:
    """One document to one member of a sorted set; its other fields are not kept there."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its sorted set."""

        score: str
        """The numeric field that orders the members."""
        key: str | None = None
        """The set's key, the route's name unless said; a template spreads documents over several sets."""
        member: str = "_id"
        """The field that names the member."""
        id_encoding: IdEncoding = "typed"
        """plain: `_id` is written as its text without a type prefix; only where every `_id` is of one type."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or route, options.id_encoding)
        self._options = options
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[Member]:
        """Return the document's one member."""
        member = key_text(document, self._options.member, self._options.id_encoding)
        return (Member(self._key.fill(document), member, self._score(lookup(document, self._options.score))),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the place of a member with this `_id`; None where key or member need other fields."""
        return member_addresses(self._key, self._options.member, identity, self._options.id_encoding)

    def _score(self, value: Any) -> float:
        field = self._options.score
        if isinstance(value, Decimal128):
            exact = value.to_decimal()
            if not exact.is_finite():
                raise MappingError("E-MAP-SCORE", field, "a decimal that is no finite number")
            score = float(exact)
            if not math.isfinite(score):
                raise MappingError("E-MAP-SCORE", field, "beyond the range of a score, which is a double")
            if Decimal(score) != exact:
                self._losses.add("score_rounded", field)
            elif not exact and exact.is_signed():
                self._losses.add("neg_zero", field)
            return score + 0.0
        if isinstance(value, bool) or not isinstance(value, int | Int64 | float):
            what = "is missing" if value is MISSING else f"is {type(value).__name__}, no number"
            raise MappingError("E-MAP-SCORE", field, f"needed for the score but {what}")
        if isinstance(value, float):
            if math.isnan(value):
                raise MappingError("E-MAP-SCORE", field, "NaN cannot order a sorted set")
            if value == 0 and math.copysign(1, value) < 0:
                self._losses.add("neg_zero", field)
        elif abs(value) > _EXACT_INT and int(float(value)) != value:
            self._losses.add("score_rounded", field)
        return float(value) + 0.0


def expiry_text(expires_at_ms: int | None) -> bytes:
    """Return how a canonical form says when a key expires."""
    return b"never" if expires_at_ms is None else b"%d" % expires_at_ms


def json_text(document: Document, values: JsonValues, *, lossless: bool) -> bytes:
    """Return the whole document as JSON, its names in their order; with `lossless`, its exact BSON too."""
    text = values.dumps(document)
    if lossless:  # A field of the document's own that starts with $ has one more by now.
        text = joined(text, {STRING_RAW: base64_text(stored_bytes(document))})
    return text


def direct_json(values: JsonPolicies, key: Template, expiry: Expiry) -> Direct | None:
    """Return what makes the JSON of plain documents, for a record of which besides only key and expiry are made."""
    return direct_by(replace(REDIS_JSON, most_number=most_number(values.int53)), key, expiry)


def direct_by(plain: Plain, key: Template, expiry: Expiry) -> Direct | None:
    """Return what makes the texts of plain documents; None where the expiry has to see the whole document."""
    if expiry.paths is None:
        return None
    return direct(plain, (*key.paths, *expiry.paths), typed=key.encoding == "typed")


def default_key(route: str) -> str:
    """Return the key template of a route that says none."""
    return f"{route}:{{_id}}"


def hash_fields(document: Document, values: JsonValues) -> tuple[tuple[bytes, bytes], ...]:
    """Return a name and a text for each top-level field; raises MappingError naming the field that has none."""
    return tuple((name.encode(), text) for name, _, text in _texts(document, values))


def _texts(document: Document, values: JsonValues) -> Iterator[tuple[str, Any, bytes]]:
    for name, value in document.items():
        try:
            yield name, value, flat_text(value, values, name)
        except MappingError as error:
            raise below(name, error) from None


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
