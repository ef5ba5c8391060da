"""The memory that records will take, measured by writing some of them to keys that are gone afterwards (R71)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import uuid4

from msgspec.structs import replace

from mappers.redis.records import Entry
from stores.contract.fence import Fence
from stores.redis.client import Refused, Server, Step, code, failure, parsed_info
from stores.redis.commands import Held, Shared, Whole, entry_number, shared_step, whole_step

_log = logging.getLogger(__name__)

_ENTRY_BYTES = 20
"""What a key takes of the table of keys, and again of that of expiries; MEMORY USAGE counts neither."""
_LIFE_MS = 600_000
"""A process that dies while it measures leaves its keys for no longer."""


def size_of(size_bytes: int) -> str:
    """Return a size for people."""
    size, unit = float(size_bytes), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def free_bytes(server: Server, percent: float) -> int | None:
    """Return the bytes that are left within so many percent of `maxmemory`, or None without a limit."""
    left = 0.0
    for primary in server.primaries():
        (reply,) = primary.ask(("INFO",))
        info = parsed_info(reply)
        limit = int(info.get("maxmemory", "0"))
        if not limit:
            return None
        left += limit * percent / 100 - int(info.get("used_memory", "0"))
    return int(left)


def growth_bytes(server: Server, records: Sequence[Held], fence: Fence, left: list[str]) -> int:
    """Return how many bytes the records add to the server's memory; keys that they replace are not counted.

    Records that share keys are measured as if each key were large. They are written to scratch keys, measured by the
    server itself, and removed; which of them stay, where the server refuses that, is logged and added to `left`. Raises
    PermanentError where the server refuses anything else of it.
    """
    scratch = f"offramp:{uuid4().hex[:8]}:"
    steps = list(_scratch_steps(records, scratch))
    keys = list(dict.fromkeys(step.key for step in steps))
    try:
        for step, replies in server.run(steps, fence=fence):
            refused = failure(step, replies)
            if refused is not None and code(refused) != "WRONGTYPE":
                raise server.refusal(refused) from refused
        taken = sum(size_bytes for size_bytes in _usage(server, keys) if size_bytes) + _ENTRY_BYTES * len(keys)
        whole = [record for record in records if isinstance(record, Whole)]
        for record, held_bytes in zip(whole, _usage(server, [record.key for record in whole]), strict=True):
            if held_bytes:
                taken -= held_bytes + _ENTRY_BYTES
            elif record.expires_at_ms is not None:
                taken += _ENTRY_BYTES
    finally:
        if stay := _remove(server, keys, scratch):
            left.append(stay)
    return max(0, taken)


def _scratch_steps(records: Sequence[Held], scratch: str) -> Iterator[Step]:
    """Yield what writes each record to a key of about its own key's length, the members of all keys to one."""
    several: Counter[str] = Counter()
    shared: list[tuple[tuple[int, int], Shared]] = []
    for number, record in enumerate(records):
        if isinstance(record, Shared):
            # A member that is in several sets is put in several here too.
            name = record.id if isinstance(record, Entry) else record.member
            order = (entry_number(record.id) or (0, 0)) if isinstance(record, Entry) else (0, 0)
            shared.append((order, replace(record, key=f"{scratch}{type(record).__name__}{several[name]}")))
            several[name] += 1
        elif isinstance(record, Whole):
            key = f"{scratch}{number}:".ljust(len(record.key.encode()), ".")
            yield whole_step(number, replace(record, key=key, expires_at_ms=None), _LIFE_MS)
    for _, member in sorted(shared, key=lambda each: each[0]):
        yield shared_step(0, member)
        yield Step.of(0, member.key, ("PEXPIRE", member.key.encode(), str(_LIFE_MS)))


def _remove(server: Server, keys: Sequence[str], scratch: str) -> str:
    """The keys are gone; returns which stay where the server refuses to remove some, else ""."""
    refused: dict[str, Refused] = {}
    for command in ("UNLINK", "DEL"):  # A user may be allowed only the older of the two.
        refused = {}
        for step, replies in server.run(Step.of(0, key, (command, key.encode())) for key in keys):
            if (refusal := failure(step, replies)) is not None:
                refused[step.key] = refusal
        if not refused:
            return ""
        keys = list(refused)
    text = (
        f"W-RDS-SCRATCH {len(keys)} scratch keys that begin with {scratch} stay in {server.place}, which refuses UNLINK"
        f" and DEL ({code(next(iter(refused.values())))}); delete them, or wait {_LIFE_MS // 60_000} minutes, after"
        " which they expire"
    )
    _log.warning("%s", text)
    return text


def _usage(server: Server, keys: Sequence[str]) -> list[int | None]:
    sizes: list[int | None] = [None] * len(keys)
    command = ("MEMORY", "USAGE")
    for step, replies in server.run(
        Step.of(number, key, (*command, key.encode(), "SAMPLES", "0")) for number, key in enumerate(keys)
    ):
        refused = failure(step, replies)
        if refused is not None:
            raise server.refusal(refused) from refused
        sizes[step.number] = replies[0]
    return sizes
