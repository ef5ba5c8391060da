"""Documents to Redis: a string of JSON, a hash, or one member of a sorted set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import orjson
from bson import Decimal128, Int64

from mappers.anomalies import stored_bytes
from mappers.contract import Document, Losses, MappingError
from mappers.fields import MISSING, Template, expiry_ms, key_text, lookup
from mappers.policies import HASH_POLICIES, JSON_POLICIES, Fidelity, HashPolicies, JsonPolicies
from mappers.tags import base64_text
from mappers.values import NULL_TEXT, flat_text, redis_json

_EXACT_INT = 2**53
"""A sorted set's score is a double: whole numbers are exact only within this (R18)."""
STRING_RAW = "$raw"
"""The last member of a lossless string's JSON: the document's exact BSON in base64."""
HASH_RAW = "_raw"
"""The field of a lossless hash that holds the document's exact BSON."""


@dataclass(frozen=True, slots=True)
class String:
    """A string value under one key."""

    key: str
    value: bytes
    expires_at_ms: int | None = None

    @property
    def address(self) -> str:
        """The key."""
        return self.key

    def canonical(self) -> bytes:
        """Return the expiry and the value's bytes as they are: key order within JSON counts (R11)."""
        return b"string %b " % _expiry(self.expires_at_ms) + self.value


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash under one key: field names and values, both bytes; a hash without fields does not exist in Redis."""

    key: str
    fields: tuple[tuple[bytes, bytes], ...]
    expires_at_ms: int | None = None

    @property
    def address(self) -> str:
        """The key."""
        return self.key

    def canonical(self) -> bytes:
        """Return the expiry and the fields, each with its length, sorted by name: a hash has no order."""
        parts = [b"%d %b %d %b" % (len(name), name, len(value), value) for name, value in sorted(self.fields)]
        return b"hash %b " % _expiry(self.expires_at_ms) + b" ".join(parts)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a sorted set with its score."""

    key: str
    member: str
    score: float

    @property
    def address(self) -> str:
        """JSON of the key and the member."""
        return orjson.dumps([self.key, self.member]).decode()

    @property
    def expires_at_ms(self) -> int | None:
        """None: Redis cannot expire one member."""
        return None

    def canonical(self) -> bytes:
        """Return the shortest text of the score; Redis keeps no sign of zero."""
        return repr(self.score + 0.0).encode()


class StringMapper:
    """One document to one string: the whole document as JSON, names and order kept."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its strings."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | None = None
        """A date field at which the key expires."""
        values: JsonPolicies = JSON_POLICIES
        """What becomes of values JSON does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as last member `$raw`; what that cannot restore is rejected."""

    target: ClassVar[str] = "redis"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or default_key(route))
        self._expires = options.expires
        self._values = redis_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"

    def __call__(self, document: Document, /) -> Iterable[String]:
        """Return the document's one string."""
        fields = self._values.document(document)
        if self._lossless:  # A field of the document's own that starts with $ has one more by now.
            fields[STRING_RAW] = base64_text(stored_bytes(document))
        value = orjson.dumps(fields)
        expires = expiry_ms(document, self._expires) if self._expires is not None else None
        return (String(self._key.fill(document), value, expires),)


class HashMapper:
    """One document to one hash: a field for each top-level field, nested values as JSON."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its hashes."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} unless said."""
        expires: str | None = None
        """A date field at which the key expires."""
        values: HashPolicies = HASH_POLICIES
        """What becomes of values a hash does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as field `_raw`; what cannot be restored from it is rejected."""

    target: ClassVar[str] = "redis"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or default_key(route))
        self._expires = options.expires
        self._values = redis_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"
        self._losses = losses
        self._null = options.values.nulls

    def __call__(self, document: Document, /) -> Iterable[Hash]:
        """Return the document's one hash; a document always has at least its `_id` as a field."""
        fields: list[tuple[bytes, bytes]] = []
        for name, value in document.items():
            try:
                text = flat_text(value, self._values, name)
                # A string may be those bytes too; a hash without its _id might have no field at all.
                if text == NULL_TEXT and not isinstance(value, str | bytes) and name != "_id" and self._null != "tag":
                    if self._null == "omit":
                        self._losses.add("null_omitted", name)
                        continue
                    self._losses.add("null_empty", name)
                    text = b""
                fields.append((name.encode(), text))
            except MappingError as error:
                raise MappingError(error.code, f"{name}.{error.field}" if error.field else name, error.reason) from None
        if self._lossless:
            if HASH_RAW in document:
                raise MappingError(
                    "E-NAME-COLLISION", HASH_RAW, "the document has a field of this name, which offramp needs"
                )
            fields.append((HASH_RAW.encode(), stored_bytes(document)))
        expires = expiry_ms(document, self._expires) if self._expires is not None else None
        return (Hash(self._key.fill(document), tuple(fields), expires),)


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

    target: ClassVar[str] = "redis"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a template that is none."""
        self._key = Template.parse(options.key or route)
        self._options = options
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[Member]:
        """Return the document's one member."""
        member = key_text(document, self._options.member)
        return (Member(self._key.fill(document), member, self._score(lookup(document, self._options.score))),)

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


def _expiry(expires_at_ms: int | None) -> bytes:
    return b"never" if expires_at_ms is None else b"%d" % expires_at_ms


def default_key(route: str) -> str:
    """Return the key template of a route that says none."""
    return f"{route}:{{_id}}"
