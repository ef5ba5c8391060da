"""A uniform random sample of a route's documents, and the bound that it proves (R149)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.copying.projection import identify
from flows.quantities import counted, number
from mappers.documents.decoding import position
from stores.contract.source import Batch, Partition, Source
from stores.throttling.batches import cut

DOCUMENTS = 30_000
"""Default size of a sample: without a difference at most 0.01 % differ, at 95 % confidence."""
_AT_ONCE = 500
_FIRST = 3


@dataclass(frozen=True, slots=True)
class Sampled:
    """The outcome of a sample."""

    documents: int
    """Documents drawn uniformly and compared."""
    beside: int
    """Documents compared in addition: the first ones, and those at the bounds of partitions."""
    wrong: int
    """Uniformly drawn documents with a wrong or unproven record."""
    confidence: float
    refused: int = 0
    """Compared documents that the target is on record to have refused."""

    @property
    def bound(self) -> float | None:
        """The largest share of all documents that may be wrong, at this confidence; None if any is wrong."""
        return bound(self.documents, self.confidence) if not self.wrong and self.documents else None


def bound(documents: int, confidence: float = 0.95) -> float:
    """Return the largest share that may be wrong, at this confidence, when none of so many documents is."""
    return -math.expm1(math.log1p(-confidence) / documents)


def needed(at_most: float, confidence: float) -> int:
    """Return how many documents without a difference prove this bound at this confidence."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-at_most))


@dataclass(slots=True)
class DrawnDocuments:
    """The drawn documents as a `stores.contract.Readable`."""

    source: Source
    uniform: Sequence[bytes]
    beside: Sequence[bytes]
    _found: set[bytes] = field(default_factory=set)
    _beside: set[bytes] = field(default_factory=set)

    def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
        """Yield the documents that still exist, the uniform ones first."""
        for ids in (self.uniform, self.beside):
            for drawn in cut(ids, _AT_ONCE):
                documents = self.source.fetch(drawn)
                found = self._found if ids is self.uniform else self._beside
                found.update(at for raw in documents if (at := position(raw)) is not None)
                if documents:
                    yield Batch(documents, drawn[0])

    def sampled(self, wrong: Collection[bytes], confidence: float, refused: Container[str] = ()) -> Sampled:
        """Return the outcome once every document was read and these were found wrong.

        `refused` names the documents that the target has refused.
        """
        count = sum(identify(at) in refused for at in (*self._found, *self._beside))
        return Sampled(len(self._found), len(self._beside), len(self._found & set(wrong)), confidence, refused=count)


def draw(source: Source, documents: int, bounds: Sequence[bytes]) -> DrawnDocuments:
    """Return this many documents drawn uniformly, and in addition the first ones and those at these positions."""
    uniform = source.sample(documents)
    beside = dict.fromkeys(bounds)
    for batch in source.read(Partition(0)):
        beside.update(dict.fromkeys(at for raw in batch.documents[:_FIRST] if (at := position(raw)) is not None))
        break
    known = set(uniform)
    return DrawnDocuments(source, uniform, [at for at in beside if at not in known])


def proven(drawn: Sampled, total: int | None) -> Mapping[str, Any]:
    """Return what the sample proves for a collection of `total` documents, and no more (R149)."""
    proof: dict[str, Any] = dataclasses.asdict(drawn) | {"at_most": drawn.bound, "at_most_documents": None}
    percent = f"{drawn.confidence * 100:g} % confidence"
    of = number(drawn.documents) + (f" of {number(total)}" if total is not None else "")
    of += " document drawn" if (total or drawn.documents) == 1 else " documents drawn"
    if drawn.bound is None:
        proof["says"] = f"{number(drawn.wrong)} wrong in {of}; verify in full"
    elif total is None:
        proof["says"] = f"no difference in {of}; at {percent} at most {drawn.bound:.3%} differ"
    else:
        most = min(total, math.ceil(drawn.bound * total))
        proof["at_most_documents"] = most
        proof["says"] = (
            f"no difference in {of}; at {percent} at most {counted(most, 'document')} ({drawn.bound:.3%}) differ"
        )
    return proof
