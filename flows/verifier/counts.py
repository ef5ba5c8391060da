"""Counting: per partition and type of `_id` what the source has against what was copied, and what the target holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.verifier.compare import list_share
from flows.verifier.ledger import Log, balance
from mappers.contract import Record
from stores.contract.target import Countable, Listable, Partition, Source, Tally, Target
from stores.errors import TransientError
from stores.state.database import PartitionState


@dataclass(frozen=True, slots=True)
class Counts:
    """What a pass that only counts came to."""

    held: int | None
    """Addresses the target holds; None where it can neither count nor list them."""
    way: str = ""
    """How they were counted."""
    differing: Sequence[str] = ()
    """Each partition of which the source has another number than was copied, in words."""
    ordered: bool = True
    """Whether the partitions that were copied cover the collection just once."""


def count_route(
    source: Source,
    target: Target[Record],
    parts: Sequence[PartitionState],
    folder: Path,
    stopping: Callable[[], bool] = lambda: False,
) -> Counts:
    """Return the counts of a route; `folder` is empty and holds a log of what the target lists meanwhile.

    Partitions are counted where there are several: of one the source's own count says the same.
    """
    held, way = _held(target, folder, stopping)
    chain = in_order(parts)
    if chain is None:
        return Counts(held, way, ordered=False)
    differing: list[str] = []
    if len(chain) > 1:
        found = source.count_by_partition([part.partition for part in chain])
        for part, now in zip(chain, found, strict=True):
            differing += _told(part.partition, part.tally.id_types, now)
    return Counts(held, way, differing)


def in_order(parts: Sequence[PartitionState]) -> Sequence[PartitionState] | None:
    """Return the partitions from the open lower end to the open upper one; None if they do not cover just once."""
    by_lower = {part.partition.lower: part for part in parts}
    chain: list[PartitionState] = []
    at: bytes | None = None
    while len(chain) < len(parts) and at in by_lower:
        chain.append(by_lower.pop(at))
        at = chain[-1].partition.upper
        if at is None:
            break
    return chain if len(chain) == len(parts) and at is None else None


def _held(target: Target[Record], folder: Path, stopping: Callable[[], bool]) -> tuple[int | None, str]:
    if isinstance(target, Countable) and (counted := target.count()) is not None:
        return counted, "its store's own count"
    if not isinstance(target, Listable):
        return None, ""
    log = Log(folder / "log")
    if not list_share(target, log, stopping=stopping):
        raise TransientError("E-STOPPED", "stopped while the target was counted; the same command counts again")
    return balance([log.path], listed=True).listed, "listing it"


def _told(part: Partition, copied: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    wrong = [kind for kind in sorted({*copied, *now}) if copied.get(kind, 0) != now.get(kind, 0)]
    told = ", ".join(f"{kind} {copied.get(kind, 0)} of {now.get(kind, 0)}" for kind in wrong)
    return [f"partition {part.number}: {told}"] if wrong else []


def source_differences(
    counts: Mapping[str, int], tally: Tally, who: str, moved: Mapping[str, int] | None = None
) -> list[tuple[Literal["mismatches", "failed"], str]]:
    """Name each BSON type of `_id` of which another number was read than the source counts (R157).

    No more than have `moved` may have come or gone since they were read: that is unsettled, and no mismatch.
    """
    kinds = sorted({*counts, *tally.id_types})
    wrong = [kind for kind in kinds if counts.get(kind, 0) != tally.id_types.get(kind, 0)]
    if not wrong:
        return []
    told = ", ".join(f"{kind} {tally.id_types.get(kind, 0)} of {counts.get(kind, 0)}" for kind in wrong)
    text = f"{who} read another number of documents than the source now counts, by type of _id: {told}"
    if moved and all(abs(counts.get(kind, 0) - tally.id_types.get(kind, 0)) <= moved.get(kind, 0) for kind in wrong):
        return [("failed", f"unsettled: {text}; documents came or went; run `offramp sync`, then verify again")]
    return [("mismatches", text)]
