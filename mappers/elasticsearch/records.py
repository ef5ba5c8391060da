"""The record of Elasticsearch and OpenSearch: one document of an index."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct

from mappers.contract import Comparable, MappingError, Restorable
from mappers.tree import Tree, json_tree
from mappers.values.json_values import elasticsearch_json

ID_LIMIT_BYTES = 512
FULL_ID = "offramp_id"
"""The field that keeps the whole text of the id where the document's id had to be shortened (R32)."""
RAW = "offramp_raw"
"""The field that keeps the document's exact BSON, in base64, on a lossless route; it is never indexed."""


class IndexDocument(Struct, Comparable, Restorable, frozen=True, gc=False):
    """One document of an index; `source` is JSON as the bulk request carries it."""

    id: str
    source: bytes
    routing: str | None = None
    """What leads to its shard, on a route with `routing`: there the same id under another one is another document."""
    index: str | None = None
    """The index it is for, on a route whose `index` is named by a date."""

    @property
    def address(self) -> str:
        """The document's id; if index or routing belong to the address, a JSON list of these and the id."""
        parts = [part for part in (self.index, self.routing) if part is not None]
        return orjson.dumps([*parts, self.id]).decode() if parts else self.id

    @property
    def expires_at_ms(self) -> int | None:
        """None: Elasticsearch expires indices, not documents."""
        return None

    def canonical(self) -> bytes:
        """Return the source with names sorted at every level: their order has no meaning there (R11).

        Raises an error for an id, a routing or an index that is no text, and for a source that is no bytes.
        """
        for part in (self.id, self.routing, self.index):
            if part is not None:
                part.encode()
        return orjson.dumps(orjson.loads(bytes(self.source)), option=orjson.OPT_SORT_KEYS)

    def content(self) -> Tree:
        """Return the fields of the source."""
        return json_tree(json.loads(bytes(self.source)))

    def restore(self) -> bytes:
        """Return the BSON in the field RAW."""
        return base64.b64decode(orjson.loads(self.source)[RAW], validate=True)


def index_document(values: Mapping[str, Any], identifier: str, *, index: str | None = None) -> IndexDocument:
    """Return the document of these BSON or Python values under this id, for a mapper of your own.

    `index` is the whole name of its index, on a route whose `index` is named by a date, and only there.
    Raises MappingError for an id Elasticsearch does not take (empty, or over 512 bytes).
    """
    size = len(identifier.encode())
    if not 0 < size <= ID_LIMIT_BYTES:
        raise MappingError("E-ES-ID", "_id", f"the id is {size} bytes; Elasticsearch takes 1 to {ID_LIMIT_BYTES}")
    return IndexDocument(identifier, orjson.dumps(elasticsearch_json().document(values)), index=index)
