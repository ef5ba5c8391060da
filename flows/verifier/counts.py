"""Count documents by partition and type of `_id` in the source against those copied, and the records in the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.verifier.address_log import AddressLog
from flows.verifier.listing import list_share
from mappers.contract import Record
from stores.contract.source import Partition, Source
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.contract.target import Countable, Listable, Target
from stores.errors import TransientError
from stores.state.partitions import PartitionState


@dataclass(frozen=True, slots=True)
class Counts:
    """The outcome of a pass that only counts."""

    held: int | None
    """Addresses in the target; None where it can neither count nor list them."""
    way: str = ""
    """How they were counted: by the store itself, or by listing."""
    differing: Sequence[str] = ()
    """A sentence for each partition with another number of documents in the source than was copied."""
    ordered: bool = True
    """Whether the copied partitions cover the collection exactly once."""


def count_route(
    source: Source,
    target: Target[Record],
    parts: Sequence[PartitionState],
    stop: Stop = NEVER,
) -> Counts:
    """Return the counts of a route.

    Partitions are counted only where there are several: for a single one the count of the collection says the same.
    """
    held, way = _count_target(target, stop)
    chain = in_order(parts)
    if chain is None:
        return Counts(held, way, ordered=False)
    differing: list[str] = []
    if len(chain) > 1:
        found = source.count_by_partition([part.partition for part in chain])
        for part, now in zip(chain, found, strict=True):
            differing += _differences(part.partition, part.tally.id_types, now)
    return Counts(held, way, differing)


def in_order(parts: Sequence[PartitionState]) -> Sequence[PartitionState] | None:
    """Return the partitions from the open lower end to the open upper end; None if they overlap or leave a gap."""
    by_lower = {part.partition.lower: part for part in parts}
    chain: list[PartitionState] = []
    at: bytes | None = None
    while len(chain) < len(parts) and at in by_lower:
        chain.append(by_lower.pop(at))
        at = chain[-1].partition.upper
        if at is None:
            break
    return chain if len(chain) == len(parts) and at is None else None


def _count_target(target: Target[Record], stop: Stop) -> tuple[int | None, str]:
    if isinstance(target, Countable) and (counted := target.count()) is not None:
        return counted, "its store's own count"
    if not isinstance(target, Listable):
        return None, ""
    with AddressLog() as log:
        if not list_share(target, log.list, stop=stop):
            raise TransientError(STOPPED, "stopped while it counted the target; the same command counts again")
        return log.listed(), "listing it"


def _differences(part: Partition, copied: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    wrong = [kind for kind in sorted({*copied, *now}) if copied.get(kind, 0) != now.get(kind, 0)]
    numbers = ", ".join(f"{kind} {copied.get(kind, 0)} of {now.get(kind, 0)}" for kind in wrong)
    return [f"partition {part.number}: {numbers}"] if wrong else []
