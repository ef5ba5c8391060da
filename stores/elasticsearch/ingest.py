"""What an ingest pipeline makes of documents, asked of the server that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import orjson
from msgspec.structs import replace

from mappers.elasticsearch.records import FULL_ID, RAW, IndexDocument
from stores.elasticsearch.client import Cluster
from stores.throttling.batches import cut

_REQUEST_BYTES = 5 << 20
_REQUEST_DOCUMENTS = 500
_NOTHING = b"null"
"""Equal to no document's source."""


def simulated(
    cluster: Cluster, pipeline: str, records: Sequence[IndexDocument], index: str, deadline_s: float
) -> Sequence[IndexDocument]:
    """Return the records as the pipeline leaves them; a record that it drops, moves or fails on equals no document."""
    made: list[IndexDocument] = []
    for batch in cut(records, _REQUEST_DOCUMENTS, _REQUEST_BYTES, lambda record: len(record.source)):
        docs = [
            {
                "_index": record.index or index,
                "_id": record.id,
                **({} if record.routing is None else {"_routing": record.routing}),
                "_source": orjson.Fragment(record.source),
            }
            for record in batch
        ]
        target = f"/_ingest/pipeline/{quote(pipeline, safe='')}/_simulate"
        answer = cluster.ask("POST", target, orjson.dumps({"docs": docs}), deadline_s=deadline_s)
        answered = answer.part("docs")
        if not isinstance(answered, list) or len(answered) != len(batch):
            raise answer.unclear(f"what pipeline {pipeline} makes of {len(batch)} documents")
        made += [_left(record, index, doc) for record, doc in zip(batch, answered, strict=True)]
    return made


def _left(record: IndexDocument, index: str, found: Any) -> IndexDocument:
    left = found.get("doc") if isinstance(found, dict) else None
    if not isinstance(left, dict) or not isinstance(left.get("_source"), dict):
        return replace(record, source=_NOTHING)
    where = (left.get("_index"), left.get("_id"), left.get("_routing"))
    if where != (record.index or index, record.id, record.routing):
        return replace(record, source=_NOTHING)
    source = left["_source"]
    before = orjson.loads(record.source)
    # These are offramp's own, and the promise of `fidelity: lossless` rests on them: no pipeline may change them.
    kept = {name: before[name] for name in (FULL_ID, RAW) if name in before}
    return replace(record, source=orjson.dumps({**source, **kept}))
