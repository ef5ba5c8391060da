"""Documents to Redis's own JSON documents, for servers with the JSON module (R69)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from mappers.contract import Comparable, Document, Losses, OptionDeclarations, Record, Restorable
from mappers.expiry import Expires
from mappers.identity import IdEncoding
from mappers.policies import JSON_POLICIES, Anomalies, Fidelity, JsonPolicies
from mappers.redis.own_key import WholeDocumentMapper, needed_fields, own_key
from mappers.redis.recognition import json_fits
from mappers.redis.records import OwnKey, expiring_tree, expiry_text, json_raw, text_tree
from mappers.redis.string import json_text, plain_json
from mappers.tree import Tree
from mappers.values.json_values import redis_json

_EXACT = 2.0**53
_LONG = re.compile(rb"\d{20}")
"""Digits that may be a whole number of more than 64 bits, which orjson reads as a double, as servers do."""


class Json(OwnKey, Comparable, Restorable, frozen=True, gc=False):
    """A JSON document under one key, as its text."""

    value: bytes
    expires_at_ms: int | None = None

    def readable(self) -> bool:
        """True if its text is JSON."""
        try:
            orjson.loads(self.value)
        except orjson.JSONDecodeError:
            return False
        return True

    def canonical(self) -> bytes:
        """Return the expiry and the values: the server keeps neither the order of names nor how a number is written."""
        try:
            value = orjson.loads(bytes(self.value))
            if _LONG.search(self.value):
                value = json.loads(self.value)
            content = orjson.dumps(_by_value(value), option=orjson.OPT_SORT_KEYS)
        except orjson.JSONDecodeError:
            content = b"no JSON: " + self.value
        return b"json %b " % expiry_text(self.expires_at_ms) + content

    def content(self) -> Tree:
        """Return the expiry and the values, the names of an object in no order."""
        return expiring_tree(self.expires_at_ms, text_tree(self.value))

    def restore(self) -> bytes:
        """Return the BSON in the member JSON_RAW."""
        return json_raw(self.value)


def _by_value(value: Any) -> Any:
    """Return the value with one form for each whole number; -0.0 stays different from 0."""
    if isinstance(value, dict):
        return {name: _by_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_by_value(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and 0 < abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return {"$long": str(value)}  # Equal to no double.
    return value


class JsonMapper(WholeDocumentMapper[Json]):
    """One document to one JSON document, of which JSON.GET and searches read parts."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its JSON documents."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} by default."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""
        id_encoding: IdEncoding = "typed"
        """plain: {_id} is the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: JsonPolicies = JSON_POLICIES
        """What becomes of values JSON does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as member `$raw`; what that cannot restore is rejected."""

        @property
        def anomalies(self) -> Anomalies:
            """The policies for documents that a decoder would change."""
            return self.values

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, key=self.key)

    PLACEMENT: ClassVar[Mapping[str, Any]] = {"json": True}
    RECORD: ClassVar[type[Record]] = Json

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a key that all documents would share."""
        key = own_key(options.key, route, options.id_encoding)
        self._options = options
        self._values = redis_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"
        super().__init__(Json, key, options.expires, None if self._lossless else plain_json(options.values))

    def __call__(self, document: Document, /) -> Iterable[Json]:
        """Return the document's one JSON document."""
        return (self._record(document, json_text(document, self._values, lossless=self._lossless)),)

    def _content_tells(self) -> bool:
        return True

    def _fits(self, record: Any, texts: Mapping[str, str], /) -> bool:
        return json_fits(record.value, texts, self._options.id_encoding)
