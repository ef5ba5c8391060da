"""A document as a Redis string or counter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal

from bson import Binary, Code, Decimal128, Int64

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Record
from mappers.documents.fields import MISSING, lookup
from mappers.documents.irregular import stored_bytes
from mappers.expiry import Expires
from mappers.identity import IdEncoding
from mappers.policies import JSON_POLICIES, Anomalies, Fidelity, JsonPolicies
from mappers.redis.msgpack import packed
from mappers.redis.own_key import OwnKeyMapper, WholeDocumentMapper, default_key, needed_fields
from mappers.redis.recognition import json_fits, packed_fits
from mappers.redis.records import JSON_RAW, String
from mappers.values.fast_path import REDIS_JSON, Plain, most_number
from mappers.values.json_values import JsonValues, joined, redis_json
from mappers.values.key_templates import Template
from mappers.values.tags import base64_text

_COUNT = re.compile(b"0|-?[1-9][0-9]{0,18}")


class StringMapper(WholeDocumentMapper[String]):
    """One document to one string: the whole document as JSON or MessagePack, names and order kept, or one field raw."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its strings."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} by default."""
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

        @property
        def anomalies(self) -> Anomalies:
            """The policies for documents that a decoder would change."""
            return self.values

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield from needed_fields(value=self.value)

    use_cases: ClassVar[Sequence[str]] = ("session", "cache")
    RECORD: ClassVar[type[Record]] = String

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template, or a field without its format."""
        self._options = options
        self._losses = losses
        self._values = redis_json(options.values, losses)
        if options.format == "raw" and options.value is None:
            raise ValueError("format: raw holds one field; name that field in `value`")
        if options.format != "raw" and options.value is not None:
            raise ValueError("value: is only for `format: raw`; other formats hold the whole document")
        self._lossless = options.fidelity == "lossless"
        if self._lossless and options.format != "json":
            raise ValueError("fidelity: lossless needs `format: json`")
        key = Template.parse(options.key or default_key(route), options.id_encoding)
        plain = plain_json(options.values) if options.format == "json" and not self._lossless else None
        super().__init__(String, key, options.expires, plain)

    def __call__(self, document: Document, /) -> Iterable[String]:
        """Return the document's one string."""
        return (self._record(document, self._contents(document)),)

    def _content_tells(self) -> bool:
        return self._options.format != "raw"

    def _fits(self, record: Any, texts: Mapping[str, str], /) -> bool:
        if self._options.format == "json":
            return json_fits(record.value, texts, self._options.id_encoding)
        return self._options.format == "raw" or packed_fits(record.value, texts, self._options.id_encoding)

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


class CounterMapper(OwnKeyMapper):
    """One document to a string that INCR and DECR count on: one whole number, without its other fields."""

    one_record: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its counters."""

        value: str
        """The field with the number."""
        key: str | None = None
        """Key template; the route's name, a colon and {_id} by default."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield "value", self.value

    use_cases: ClassVar[Sequence[str]] = ("counter",)
    RECORD: ClassVar[type[Record]] = String

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template."""
        super().__init__(Template.parse(options.key or default_key(route)), options.expires)
        self._options = options
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[String]:
        """Return the document's one counter."""
        count = self._count(lookup(document, self._options.value))
        return (String(self._key.fill(document), b"%d" % count, self._expiry(document)),)

    def _fits(self, record: Any, texts: Mapping[str, str], /) -> bool:
        return _COUNT.fullmatch(record.value) is not None

    def _count(self, value: Any) -> int:
        field = self._options.value
        number = value.to_decimal() if isinstance(value, Decimal128) else value
        if isinstance(number, bool) or not isinstance(number, int | Int64 | float | Decimal):
            what = "is missing" if value is MISSING else f"is {type(value).__name__}, no number"
            raise MappingError("E-MAP-COUNTER", field, f"needed for the counter but {what}")
        finite = number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)
        # An exponent may be so large that the whole number would fill the memory: its size is judged first.
        if not finite or not -(2**63) <= number < 2**63 or number != int(number):
            raise MappingError("E-MAP-COUNTER", field, "a counter holds only whole numbers of 64 bits")
        if number == 0 and not isinstance(number, int) and math.copysign(1, number) < 0:
            self._losses.add("neg_zero", field)
        return int(number)


def json_text(document: Document, values: JsonValues, *, lossless: bool) -> bytes:
    """Return the whole document as JSON, its names in their order; with `lossless`, its exact BSON too."""
    text = values.dumps(document)
    if lossless:  # A field of the document's own that starts with $ has one more by now.
        text = joined(text, {JSON_RAW: base64_text(stored_bytes(document))})
    return text


def plain_json(policies: JsonPolicies) -> Plain:
    """Return the definition of a plain document in JSON by these policies."""
    return replace(REDIS_JSON, most_number=most_number(policies.int53))
