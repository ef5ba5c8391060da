"""From a stored document to the records a route promises: copying writes them, verification expects them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import bson

from flows.plugins import MapFunction
from mappers.anomalies import decode_all
from mappers.contract import Document, Losses, MappingError, Record
from mappers.decoding import CODEC, decode, identity_type, position
from mappers.fields import dropping, keeping
from mappers.identity import encode
from mappers.policies import Anomalies
from mappers.restoring import restore
from stores.contract import Batch, Reject, Tally


@dataclass(frozen=True, slots=True)
class Projected:
    """What one document becomes: records, none because it is dropped on purpose, or a reject."""

    id: str
    """The typed text of its `_id`."""
    records: Sequence[Record] = ()
    reject: Reject | None = None


@dataclass(frozen=True, slots=True)
class ProjectedBatch:
    """What a batch of documents becomes, and the sums of it."""

    tally: Tally
    records: Sequence[Record]
    ids: Sequence[str]
    """The document of each record."""
    rejects: Sequence[Reject]


class Projection:
    """Decodes, selects fields and maps; keeps count of losses. One thread at a time."""

    def __init__(
        self,
        mapper: MapFunction,
        losses: Losses,
        record_types: tuple[type[Record], ...],
        *,
        keep: Iterable[str] | None = None,
        drop: Iterable[str] | None = None,
        anomalies: Anomalies | None = None,
        lossless: bool = False,
    ) -> None:
        """Take the route's mapper and what its target holds; `losses` is the counter the mapper was made with.

        `anomalies` says what to do with bytes a decoder would change, which are rejected without it; `lossless` rejects
        every document that cannot be restored from its one record.
        """
        self.losses = losses
        self._mapper = mapper
        self._types = record_types
        self._keep = list(keep) if keep is not None else None
        self._drop = list(drop or ())
        self._anomalies = anomalies
        self._lossless = lossless

    def __call__(self, raw: bytes) -> Projected:
        """Return what the document becomes; whatever is wrong with it or its mapper makes a reject, never an error."""
        identifier = _identify(raw)
        stage = "decode"
        try:
            document = decode(raw) if self._anomalies is None else decode_all(raw, self._anomalies, self.losses)
            stage = "map"
            records = list(self._mapper(self._selected(document)))
            for record in records:
                if not isinstance(record, self._types):
                    wanted = " or ".join(kind.__name__ for kind in self._types)
                    raise MappingError("E-MAP-RECORD", "", f"the mapper gave {type(record).__name__}, not {wanted}")
            if self._lossless and not _restores(records, raw):
                raise MappingError("E-MAP-LOSSLESS", "", "the document cannot be restored from its record byte by byte")
        except MappingError as error:
            self.losses.discard()
            return Projected(identifier, reject=Reject(identifier, stage, error.code, error.field, error.reason))
        except Exception as error:  # noqa: BLE001 - a mapper is the user's code; one bad document must not sink its batch
            self.losses.discard()
            return Projected(identifier, reject=Reject(identifier, stage, "E-MAP-FAILED", "", _where(error)))
        self.losses.keep(identifier)
        return Projected(identifier, records)

    def batch(self, batch: Batch) -> ProjectedBatch:
        """Return what the batch becomes; its documents are read = dropped + rejected + copied."""
        tally = Tally(read=len(batch.documents), id_types=Counter(map(identity_type, batch.documents)))
        records: list[Record] = []
        ids: list[str] = []
        rejects: list[Reject] = []
        for raw in batch.documents:
            projected = self(raw)
            if projected.reject is not None:
                rejects.append(projected.reject)
            elif not projected.records:
                tally.dropped += 1
            else:
                records.extend(projected.records)
                ids.extend([projected.id] * len(projected.records))
        tally.rejected = len(rejects)
        tally.copied = tally.read - tally.dropped - tally.rejected
        tally.records = len(records)
        tally.losses = Counter(self.losses.take())
        tally.lost = self.losses.take_fields()
        return ProjectedBatch(tally, records, ids, rejects)

    def _selected(self, document: Document) -> Document:
        if self._keep is not None:
            return keeping(document, self._keep)
        return dropping(document, self._drop) if self._drop else document


def _restores(records: Sequence[Record], raw: bytes) -> bool:
    try:
        return [restore(record) for record in records] == [raw]
    except ValueError:
        return False


def _identify(raw: bytes) -> str:
    """Return the typed text of the document's id even where the rest of it cannot be decoded."""
    try:
        at = position(raw)
        if at is not None:
            return encode(bson.decode(at, CODEC)["_id"])
    except (bson.errors.InvalidBSON, ValueError, IndexError):
        pass
    return "unknown:" + blake2b(raw, digest_size=16).hexdigest()


def _where(error: Exception) -> str:
    """Return the kind of error and the line it came from, not its text, which may hold values of the document."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"the mapper failed with {type(error).__name__} at {frame.filename.rpartition('/')[2]} line {frame.lineno}"
