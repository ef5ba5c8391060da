"""What has changed in a source that tells no changes: every document again, by `_id` and a hash of its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from mappers.documents.decoding import position
from stores.contract.target import Batch, Partition, Readable
from stores.errors import PermanentError

_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Scanned:
    """A batch of a scan; a document is changed, or new, if its hash differs from the one remembered for its id.

    What is remembered between two batches' positions and not among these ids was deleted.
    """

    batch: Batch
    seen: Sequence[tuple[bytes, bytes]]
    """The id, BSON ``{"_id": id}``, and the hash of each document, in their order."""


def scan(source: Readable, partition: Partition, after: bytes | None = None) -> Iterator[Scanned]:
    """Yield every document of the partition, past the position `after` if given; errors as `Readable.read`."""
    for batch in source.read(partition, after):
        yield Scanned(batch, [(_id_of(raw), content(raw)) for raw in batch.documents])


def content(raw: bytes) -> bytes:
    """Return 16 bytes that differ for documents that differ in any byte: also in the order or type of their fields."""
    return blake2b(raw, digest_size=_HASH_BYTES).digest()


def _id_of(raw: bytes) -> bytes:
    own = position(raw)
    if own is None:
        raise PermanentError("E-ID-MISSING", "the source gives a document without _id; nothing would tell it apart")
    return own
