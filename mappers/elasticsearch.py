"""Documents to Elasticsearch documents: an id and a `_source` that is the whole document as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from mappers.anomalies import stored_bytes
from mappers.contract import Document, Losses, MappingError
from mappers.identity import IdEncoding, identity, shortened
from mappers.policies import JSON_POLICIES, Fidelity, JsonPolicies
from mappers.tags import base64_text
from mappers.values import elasticsearch_json

ID_LIMIT_BYTES = 512
FULL_ID = "offramp_id"
"""The field that keeps the whole text of the id where the document's id had to be shortened (R32)."""
RAW = "offramp_raw"
"""The field that keeps the document's exact BSON, in base64, on a lossless route; it is never indexed."""


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """One document of an index; `source` is JSON as the bulk request carries it."""

    id: str
    source: bytes

    @property
    def address(self) -> str:
        """The document's id."""
        return self.id

    @property
    def expires_at_ms(self) -> int | None:
        """None: Elasticsearch expires indices, not documents."""
        return None

    def canonical(self) -> bytes:
        """Return the source with names sorted at every level: their order has no meaning there (R11)."""
        return orjson.dumps(orjson.loads(self.source), option=orjson.OPT_SORT_KEYS)


def index_document(values: Mapping[str, Any], identifier: str) -> IndexDocument:
    """Return the document of these BSON or Python values under this id, for a mapper of your own.

    Raises MappingError for an id Elasticsearch does not take (empty, or over 512 bytes).
    """
    size = len(identifier.encode())
    if not 0 < size <= ID_LIMIT_BYTES:
        raise MappingError("E-ES-ID", "_id", f"the id is {size} bytes; Elasticsearch takes 1 to {ID_LIMIT_BYTES}")
    return IndexDocument(identifier, orjson.dumps(elasticsearch_json().document(values)))


class DocumentMapper:
    """One document to one index document: its encoded `_id` as the id, every other field in `_source`."""

    @dataclass(frozen=True)
    class Options:
        """What a route may say about its documents."""

        id_encoding: IdEncoding = "typed"
        """plain: ids are the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: JsonPolicies = JSON_POLICIES
        """What becomes of values JSON does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as `offramp_raw`; what cannot be restored from it is rejected."""

    target: ClassVar[str] = "elasticsearch"

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options."""
        self._options = options
        self._values = elasticsearch_json(options.values, losses)
        self._lossless = options.fidelity == "lossless"

    def __call__(self, document: Document, /) -> Iterable[IndexDocument]:
        """Return the document's one index document."""
        full = identity(document, self._options.id_encoding)
        source = self._values.document({name: value for name, value in document.items() if name != "_id"})
        identifier = shortened(full, ID_LIMIT_BYTES)
        added: dict[str, str] = {}
        if identifier != full:
            added[FULL_ID] = full
        if self._lossless:
            added[RAW] = base64_text(stored_bytes(document))
        for name in added:
            if name in source:
                raise MappingError(
                    "E-NAME-COLLISION", name, "the document has a field of this name, which offramp needs"
                )
        return (IndexDocument(identifier, orjson.dumps(source | added)),)
