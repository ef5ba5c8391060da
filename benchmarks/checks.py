"""What each safety check costs on its own: CPU microseconds for a document of 1 KB, or for what stands behind it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import bson
import orjson

from benchmarks.documents import encoded
from flows.copying.projection import Projection
from flows.verifier.part_ledger import PartLedger, Shape
from mappers.contract import Document, Losses
from mappers.documents.decoding import CODEC, decode, identity_type
from mappers.dynamodb.size import item_size
from mappers.dynamodb.values import DynamoDBValues
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.records import IndexDocument
from mappers.identity import encode
from mappers.redis.hash import HashMapper
from mappers.redis.records import Hash
from mappers.values.field_names import dynamodb_name
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.redis.commands import unfit
from stores.state.state import State

_DOCUMENTS = 1_000
_REPEATS = 5
_LARGE = 1_000_000
"""Documents of a collection that a sketch is made for."""
_CHECKPOINTS = 50
_LEASE_S = 60


def checks() -> Iterator[dict[str, Any]]:
    """Yield what each check costs; every one of them is on in every run."""
    raws = [encoded(number, 1) for number in range(_DOCUMENTS)]
    read = [decode(raw) for raw in raws]
    items = [DynamoDBValues().item(document) for document in read]
    documents = [next(iter(_document_mapper()(document))) for document in read]
    hashes = [next(iter(HashMapper(HashMapper.Options(), "route", Losses())(document))) for document in read]
    names = [list(document) for document in read]

    def each(check: Callable[[Any], object], subjects: Sequence[Any]) -> float:
        return median(_timed(check, subjects) for _ in range(_REPEATS)) / _DOCUMENTS

    yield _row("decode, as any program must", each(lambda raw: bson.decode(raw, CODEC), raws))
    yield _row("anomalies: encode again and compare bytes (R2)", each(_survives, list(zip(read, raws, strict=True))))
    yield _row("type of _id, counted (R157)", each(identity_type, raws))
    yield _row("typed text of _id (R31)", each(lambda document: encode(document["_id"]), read))
    yield _row("names escaped, 20 fields (R8)", each(lambda keys: [dynamodb_name(name) for name in keys], names))
    yield _row("exact size of a DynamoDB item (R40)", each(item_size, items))
    yield _row("limits of a Redis hash (R76)", each(_fits, hashes))
    yield _row("lossless: restored from its record and compared", _lossless(raws))
    yield _row("canonical form, Elasticsearch (R11)", each(IndexDocument.canonical, documents))
    yield _row("canonical form, Redis hash (R11)", each(Hash.canonical, hashes))
    yield _row("canonical form, DynamoDB (R11)", each(_sorted, [orjson.dumps(item) for item in items]))
    yield _row("sketch of addresses, expected and listed", _listed([document.address for document in documents]))
    yield from _state()


def _survives(pair: tuple[Document, bytes]) -> bool:
    return bson.encode(pair[0], codec_options=CODEC) == pair[1]


def _sorted(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)


def _fits(record: Hash) -> object:
    return unfit(record, expiring=False)


def _document_mapper(fidelity: str = "native") -> DocumentMapper:
    options = DocumentMapper.Options(fidelity="lossless" if fidelity == "lossless" else "native")
    return DocumentMapper(options, "route", Losses())


def _lossless(raws: list[bytes]) -> float:
    losses = Losses()
    plain, checked = (
        Projection(_document_mapper("lossless"), losses, (IndexDocument,), guarded=False, lossless=lossless)
        for lossless in (False, True)
    )

    with_it, without = (median(_timed(use.map, raws) for _ in range(_REPEATS)) for use in (checked, plain))
    return (with_it - without) / len(raws)


def _listed(addresses: list[str]) -> float:
    ledger = PartLedger(Shape.first(_LARGE, listed=True))
    return (_timed(lambda same: ledger.expect(same, ()), [addresses]) + _timed(ledger.list, [addresses])) / len(
        addresses
    )


def _state() -> Iterator[dict[str, Any]]:
    """Yield what the journal costs a batch of a thousand documents, as CPU for each of them."""
    with tempfile.TemporaryDirectory() as folder:
        state = State(f"sqlite:///{folder}/state.db", "plan", _LEASE_S)
        lease = state.leases.acquire("route")
        state.partitions.begin(lease, {}, "", "", [Partition(0)])
        journal = state.journal(lease)
        tally = Tally(read=_DOCUMENTS, copied=_DOCUMENTS, records=_DOCUMENTS)
        position = bson.encode({"_id": 1})
        batches = range(_CHECKPOINTS)
        ensured_s = _timed(lambda _: journal.ensure(), batches)
        yield _row("lease looked at before a batch of 1 000 (R134)", ensured_s / _CHECKPOINTS / _DOCUMENTS)
        written = _timed(lambda _: journal.checkpoint(0, position, tally), batches)
        yield _row("checkpoint of a batch of 1 000 on disk (R131)", written / _CHECKPOINTS / _DOCUMENTS)
        state.close()


def _timed(work: Callable[[Any], object], subjects: Iterable[Any]) -> float:
    """Return the CPU seconds of the work on all subjects; no result is kept, as none is in a run."""
    began = time.process_time()
    for subject in subjects:
        work(subject)
    return time.process_time() - began


def _row(check: str, seconds: float) -> dict[str, Any]:
    return {"check": check, "us": round(seconds * 1e6, 2)}
