"""How far the partitions of a route have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stores.contract.journal import Tally
from stores.contract.source import Partition


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far a partition has come."""

    partition: Partition
    position: bytes | None
    done: bool
    tally: Tally


@dataclass(frozen=True, slots=True)
class RouteState:
    """What is remembered of a route."""

    fingerprint: Mapping[str, Any]
    source_identity: str
    target_identity: str
    started: float
    backfill_s: float
    outcome: Mapping[str, Any] | None
