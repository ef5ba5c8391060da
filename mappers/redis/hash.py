"""A document as a Redis hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Record
from mappers.documents.irregular import stored_bytes
from mappers.expiry import Expires
from mappers.identity import IdEncoding
from mappers.policies import HASH_POLICIES, Anomalies, Fidelity, HashPolicies
from mappers.redis.own_key import WholeDocumentMapper, default_key, needed_fields
from mappers.redis.recognition import hash_fits
from mappers.redis.records import HASH_RAW, Hash
from mappers.values.converter import below
from mappers.values.fast_path import FIELDS, most_number
from mappers.values.field_names import name_collision
from mappers.values.json_values import NULL_TEXT, JsonValues, flat_text, redis_json
from mappers.values.key_templates import Template


class HashMapper(WholeDocumentMapper[Hash]):
    """One document to one hash: a field for each top-level field, nested values as JSON."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its hashes."""

        key: str | None = None
        """Key template; the route's name, a colon and {_id} by default."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""
        id_encoding: IdEncoding = "typed"
        """plain: {_id} is the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: HashPolicies = HASH_POLICIES
        """What becomes of values a hash does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as field `_raw`; what cannot be restored from it is rejected."""

        @property
        def anomalies(self) -> Anomalies:
            """The policies for documents that a decoder would change."""
            return self.values

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, key=self.key)

    RECORD: ClassVar[type[Record]] = Hash

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template."""
        self._options = options
        self._values = redis_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"
        self._losses = losses
        self._null = options.values.nulls
        plain = replace(FIELDS, most_number=most_number(options.values.int53), null_text=self._null == "tag")
        key = Template.parse(options.key or default_key(route), options.id_encoding)
        super().__init__(Hash, key, options.expires, None if self._lossless else plain)

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
                raise name_collision(HASH_RAW)
            fields.append((HASH_RAW.encode(), stored_bytes(document)))
        return (self._record(document, tuple(fields)),)

    def _content_tells(self) -> bool:
        return True

    def _fits(self, record: Any, texts: Mapping[str, str], /) -> bool:
        return hash_fits(dict(record.fields), texts, self._options.id_encoding)


def hash_fields(document: Document, values: JsonValues) -> tuple[tuple[bytes, bytes], ...]:
    """Return a name and a text for each top-level field; raises MappingError naming the field that has none."""
    return tuple((name.encode(), text) for name, _, text in _texts(document, values))


def _texts(document: Document, values: JsonValues) -> Iterator[tuple[str, Any, bytes]]:
    for name, value in document.items():
        try:
            yield name, value, flat_text(value, values, name)
        except MappingError as error:
            raise below(name, error) from None
