"""From a stored document to the records a route promises: copying writes them, verification expects them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import bson
from msgspec import Struct

from flows.plan.model import Route, is_plain
from flows.plan.own_mapper import MapFunction
from mappers.contract import Addressing, MappingError, Recognizing, Record, Straight, declarations, option_declarations
from mappers.documents.decoding import CODEC, CODEC_MS, decode, identity_type, identity_types, position
from mappers.documents.depth import MOST_LEVELS, deepest
from mappers.documents.irregular import decode_all
from mappers.identity import PLAIN_KINDS, encode, plain
from mappers.losses import NOTHING_LOST, Losses, Lost, count_lost
from mappers.lossless import restore
from mappers.native.extension import SWITCH
from mappers.policies import Anomalies
from mappers.transforms.filters import Filter, compiled
from mappers.transforms.steps import Transformation, compose, unchanged
from stores.contract.journal import Reject, Tally
from stores.contract.source import Batch
from stores.errors import PermanentError, origin

_LONGEST_REASON = 500
_COMPARED_ONE_IN = 128
"""Of the documents mapped straight from their bytes so many are mapped the long way too."""
_ANY_ID = bson.encode({"_id": bson.ObjectId("0" * 24)})


class Mapped(Struct, frozen=True, gc=False):
    """What one document becomes, and what it loses on the way."""

    records: Sequence[Record]
    """None of them where the document is dropped on purpose."""
    losses: Sequence[Lost] = NOTHING_LOST


@dataclass(frozen=True, slots=True)
class ProjectedBatch:
    """What a batch of documents becomes, and the sums of it."""

    tally: Tally
    records: Sequence[Record]
    documents: Sequence[bytes]
    owners: Sequence[int]
    """Which of the documents each record is of."""
    rejects: Sequence[Reject]
    size_bytes: int
    """The bytes of its documents as they are stored."""
    rejected: Sequence[int] = ()
    """Which of the documents the rejects are."""

    def name(self, owner: int) -> str:
        """Return the typed text of the `_id` of one of the documents."""
        return identify(self.documents[owner])

    def position(self, owner: int) -> bytes:
        """Return BSON ``{"_id": id}`` of one of the documents, b"" for one whose `_id` cannot be found."""
        return position(self.documents[owner]) or b""


class Projection:
    """Decodes, transforms and maps. One thread at a time."""

    def __init__(
        self,
        mapper: MapFunction,
        losses: Losses,
        record_types: tuple[type[Record], ...],
        *,
        transformation: Transformation = unchanged,
        dates_in_ms: bool = False,
        guarded: bool = True,
        id_kind: str | None = None,
        anomalies: Anomalies | None = None,
        lossless: bool = False,
        naming: Transformation | None = None,
        matches: Filter | None = None,
    ) -> None:
        """Take the route's mapper, what its target holds and what is done to documents before; both add to `losses`.

        `guarded` tries each record before it goes to the target: for mappers that are not ours. `id_kind` is the one
        kind of `_id` that plain keys were allowed for ("" if the collection was empty), None where keys are typed.

        `anomalies` says what to do with bytes a decoder would change, which are rejected without it; `lossless` rejects
        every document that cannot be restored from its one record. `dates_in_ms`: the mapper takes dates as stored.

        `naming` is what of the transformation befalls a document of which only the `_id` is known; without it, or with
        a mapper that cannot tell, no address is known by `_id` alone. `matches` judges earlier forms of documents,
        which no source has filtered.
        """
        self._losses = losses
        self._mapper = mapper
        self._guarded = guarded
        self._types = record_types
        self._transformation = transformation
        self._id_kind = id_kind
        self._anomalies = anomalies
        self._lossless = lossless
        self._naming = naming
        self._matches = matches
        self._codec = CODEC_MS if dates_in_ms and transformation is unchanged else CODEC
        own: object = mapper if transformation is unchanged and not guarded else None
        self._straight = own if isinstance(own, Straight) else None
        self._turn = 0

    def map(self, raw: bytes) -> Mapped | Reject:
        """Return the document's records and losses, or a reject.

        Whatever is wrong with it or its mapper makes a reject, not an error. But raises PermanentError for an `_id` of
        another kind than the one that plain keys were allowed for (R31): its key could be another document's, so one
        of the two would be lost.
        """
        if self._id_kind is not None:
            _refuse_other_kind(raw, self._id_kind)
        stage = "decode"
        try:
            if self._anomalies is None:
                document = decode(raw, self._codec)
            else:
                document = decode_all(raw, self._anomalies, self._losses, self._codec)
            if self._transformation is unchanged:
                stage = "map"
                records = [*self._mapper(document)]
            else:
                stage = "transform"
                documents = list(self._transformation(document))
                stage = "map"
                records = [record for document in documents for record in self._mapper(document)]
            for record in records:
                if not isinstance(record, self._types):
                    wanted = " or ".join(kind.__name__ for kind in self._types)
                    raise MappingError("E-MAP-RECORD", "", f"the mapper gave {type(record).__name__}, not {wanted}")
                if self._guarded:
                    # A dataclass takes whatever its field is given; better a reject here than a failure in a store.
                    expires: object = record.expires_at_ms
                    if not isinstance(expires, int | None):
                        found = f"expires_at_ms is {type(expires).__name__}, not whole milliseconds"
                        raise MappingError("E-MAP-RECORD", "", found)
                    record.address.encode("utf-8", "surrogateescape")
                    record.canonical()
            if self._lossless and not _restores(records, raw):
                raise MappingError("E-MAP-LOSSLESS", "", "the document cannot be restored from its record byte by byte")
        except MappingError as error:
            self._losses.take()
            return Reject(identify(raw), stage, _line(error.code), _line(error.field or ""), _line(error.reason), raw)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a mapper is the user's code: see docs/decisions.md
            self._losses.take()
            # An encoder raises TypeError past its own limit, Python RecursionError past its own.
            if isinstance(error, TypeError | RecursionError) and (fault := _depth_fault(raw)) is not None:
                return Reject(identify(raw), stage, "E-MAP-DEPTH", _line(fault[0]), fault[1], raw)
            return Reject(identify(raw), stage, "E-MAP-FAILED", "", f"the mapper failed with {origin(error)}", raw)
        return Mapped(records, self._losses.take())

    def batch(self, batch: Batch) -> ProjectedBatch:
        """Return what the batch becomes; its documents are read = dropped + rejected + copied."""
        tally = Tally(read=len(batch.documents), id_types=identity_types(batch.documents))
        records: list[Record] = []
        owners: list[int] = []
        rejects: list[Reject] = []
        rejected: list[int] = []
        straight = self._mapped_straight(batch.documents)
        for owner, raw in enumerate(batch.documents):
            record = straight[owner] if straight else None
            if record is not None:
                records.append(record)
                owners.append(owner)
                continue
            made = self.map(raw)
            if isinstance(made, Reject):
                rejects.append(made)
                rejected.append(owner)
                continue
            if made.losses:
                tally.losses.update(kind for _, kind in made.losses)
                count_lost(tally.lost, made.losses, identify(raw))
            if made.records:
                records += made.records
                owners += [owner] * len(made.records)
            else:
                tally.dropped += 1
        tally.rejected = len(rejects)
        tally.copied = tally.read - tally.dropped - tally.rejected
        tally.records = len(records)
        sizes = [*map(len, batch.documents)]
        tally.sizes = Counter(map(int.bit_length, sizes))
        return ProjectedBatch(tally, records, batch.documents, owners, rejects, sum(sizes), rejected)

    def _mapped_straight(self, documents: Sequence[bytes]) -> Sequence[Record | None]:
        """Return the one record of each document that needs no decoding, nothing where none can be mapped so.

        Some of them, others in each batch, are mapped the long way as well: raises PermanentError for one that is
        another record then, before any of the batch is written.
        """
        if self._straight is None:
            return ()
        if self._id_kind is not None:
            for raw in documents:
                _refuse_other_kind(raw, self._id_kind)
        made = self._straight.straight(documents)
        self._turn += 1
        for at in range(self._turn % _COMPARED_ONE_IN % max(1, len(made)), len(made), _COMPARED_ONE_IN):
            record = made[at]
            if record is not None and self.map(documents[at]) != Mapped([record]):
                raise PermanentError(
                    "E-MAP-DIRECT",
                    f"document {identify(documents[at])}: the compiled mapper and the one in Python make different"
                    f" records of it, and nothing of its batch was written; set {SWITCH}=0 to run without the compiled"
                    " one, and report it with the document's structure",
                )
        return made

    @property
    def told_by_id(self) -> bool:
        """Whether an `_id` alone tells where a document's records are."""
        return self.addresses(_ANY_ID) is not None

    @property
    def keeps_ids_apart(self) -> bool:
        """Whether the records of two documents never share an address, as far as mapper and transforms tell."""
        mapper: object = self._mapper
        plain = not self._guarded and self._naming is unchanged
        return plain and isinstance(mapper, Addressing) and mapper.keeps_ids_apart

    def addresses(self, at: bytes) -> Sequence[str] | None:
        """Return where the records of a document with this id (BSON ``{"_id": id}``) are, if there is such a document.

        None, whatever the id, where other fields decide that.
        """
        mapper: object = self._mapper
        if self._naming is None or not isinstance(mapper, Addressing):
            return None
        try:
            if self._anomalies is None:
                identity = decode(at, self._codec)
            else:
                identity = decode_all(at, self._anomalies, self._losses, self._codec)
            found: list[str] = []
            for document in self._naming(identity):
                addresses = mapper.addresses(document)
                if addresses is None:
                    return None
                found += addresses
            # Last: whether other fields decide must not depend on the id at hand.
            if self._id_kind is not None:
                _refuse_other_kind(at, self._id_kind)
            return found
        except (MappingError, PermanentError):  # Such a document was never written.
            return ()
        finally:
            self._losses.take()

    def may_have_made(self, record: Record) -> bool:
        """Return False for a record that the mapper makes of no document; True where it does not tell."""
        mapper: object = self._mapper
        return not isinstance(mapper, Recognizing) or mapper.may_have_made(record, self._id_kind or "")

    @property
    def recognizes(self) -> bool:
        """Whether the mapper tells a record that it may have made from others."""
        mapper: object = self._mapper
        return isinstance(mapper, Recognizing)

    @property
    def takes_any(self) -> bool:
        """Whether nothing but its type tells a record of the mapper from another program's."""
        mapper: object = self._mapper
        return not isinstance(mapper, Recognizing) or mapper.takes_any(self._id_kind or "")

    def former(self, raw: bytes) -> Sequence[str]:
        """Return where the records were of a document that had this form; the form counts for nothing else."""
        try:
            if self._matches is not None and not self._matches(decode(raw)):
                return ()
            made = self.map(raw)
        except (MappingError, PermanentError):  # Such a document was never written.
            return ()
        return () if isinstance(made, Reject) else [record.address for record in made.records]


def route_projection(
    route: Route,
    record_types: tuple[type[Record], ...],
    mapper: MapFunction,
    losses: Losses,
    id_kind: str | None = None,
) -> Projection:
    """Return how the route's documents become records by this mapper; `id_kind` is what was proven for plain keys.

    Without an `id_kind` no kind of `_id` is refused, and nothing need be restored: for a look at the documents.
    """
    # A mapper that has policies knows the types that only a reader of raw bytes meets; to any other they are rejects.
    built_in = route.mapper_type is not None
    options = option_declarations(route.options)
    lossless = built_in and options.fidelity == "lossless"
    return Projection(
        mapper,
        losses,
        record_types,
        transformation=route.transformation(losses),
        dates_in_ms=declarations(route.mapper_type).dates_in_ms,
        id_kind=id_kind if is_plain(route) else None,
        guarded=route.function is not None,
        anomalies=options.anomalies if built_in else None,
        lossless=lossless and id_kind is not None,
        naming=_naming(route),
        matches=_judged(route.where),
    )


def _naming(route: Route) -> Transformation | None:
    """Return what the route's transforms do to an `_id`; None where they make several documents of one."""
    transforms = route.keys.transforms
    if any(transform.splits for transform in transforms):
        return None
    return compose([part for transform in transforms if (part := transform.of_id()) is not None], Losses())


def _judged(where: Mapping[str, Any]) -> Filter | None:
    """Return what judges documents by the route's filter; what cannot be judged here counts as passed."""
    try:
        return compiled(where) if where else None
    except ValueError:
        return None


def _line(text: object) -> str:
    """Return what a mapper says as one line fit for a state row, a terminal and a report."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text)[:_LONGEST_REASON])
    return plain.encode("utf-8", "replace").decode()


def _depth_fault(raw: bytes) -> tuple[str, str] | None:
    """Return the path and the reason if the document is nested deeper than any of MongoDB's, None if it is not."""
    try:
        levels, path = deepest(bson.decode(raw, CODEC))
    except (bson.errors.InvalidBSON, RecursionError):
        return None
    return (path, f"is nested {levels} levels deep, more than can be encoded") if levels > MOST_LEVELS else None


def _restores(records: Sequence[Record], raw: bytes) -> bool:
    try:
        return [restore(record) for record in records] == [raw]
    except ValueError:
        return False


def identify(raw: bytes) -> str:
    """Return the typed text of the document's id even where the rest of it cannot be decoded."""
    try:
        at = position(raw)
        if at is not None:
            return encode(bson.decode(at, CODEC)["_id"])
    except (bson.errors.InvalidBSON, ValueError, IndexError, TypeError, RecursionError):
        pass  # The last two: an `_id` nested too deeply for an encoder.
    return "unknown:" + blake2b(raw, digest_size=16).hexdigest()


def _refuse_other_kind(raw: bytes, proven: str) -> None:
    found = identity_type(raw)
    if found == "unknown":
        return  # No id can be read, so nothing will be mapped: `decode` rejects the document.
    what = f"its type is {found}"
    if PLAIN_KINDS.get(found) == proven:
        try:
            value = bson.decode(position(raw) or b"", CODEC)["_id"]
        except (bson.errors.InvalidBSON, ValueError, IndexError):
            return
        try:
            plain(value)
            return
        except MappingError as error:
            what = error.reason
    was = f"every _id was of the kind {proven}" if proven else "the collection was empty"
    raise PermanentError(
        "E-ID-TYPE",
        f"id_encoding: plain, and {was} when the run began; now there is another _id: {what}. Two documents could share"
        " a key, so the route stops. Remove the document or exclude it with where:, or set id_encoding: typed; then"
        " start over with backfill --restart",
    )
