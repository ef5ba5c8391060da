"""Cluster times: as positions have them, as the driver has them, and for people."""

from __future__ import annotations

from datetime import UTC, datetime

from bson.timestamp import Timestamp


def timestamp(time: int) -> Timestamp:
    """Return a cluster time as the driver has it."""
    return Timestamp(time >> 32, time & 0xFFFFFFFF)


def as_int(time: Timestamp) -> int:
    """Return a cluster time as positions have it."""
    return time.time << 32 | time.inc


def as_text(time: int) -> str:
    """Return a cluster time for people."""
    return datetime.fromtimestamp(time >> 32, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
