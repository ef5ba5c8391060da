"""The memory that records will take, measured by writing some of them to keys that are gone afterwards (R71)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import uuid4

from msgspec.structs import replace

from mappers.redis.records import Entry
from stores.redis.client import Server, Step, code, failure, parsed_info
from stores.redis.commands import Held, Shared, Whole, entry_number, shared_step, whole_step

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


def room(server: Server, percent: float) -> int | None:
    """Return the bytes that may still be filled within so many percent of `maxmemory`, or None without a limit."""
    left = 0.0
    for one in server.primaries():
        (told,) = one.ask(("INFO",))
        info = parsed_info(told)
        limit = int(info.get("maxmemory", "0"))
        if not limit:
            return None
        left += limit * percent / 100 - int(info.get("used_memory", "0"))
    return int(left)


def growth_bytes(server: Server, records: Sequence[Held]) -> int:
    """Return the bytes by which the records make the memory grow; what stands at their keys already is not counted.

    Those that share keys are measured as if each key were a large one. They are written beside, measured by the server
    itself, and removed. Raises PermanentError where the server refuses that.
    """
    scratch = f"offramp:{uuid4().hex[:8]}:"
    steps = list(_scratch_steps(records, scratch))
    keys = list(dict.fromkeys(step.key for step in steps))
    try:
        for step, replies in server.run([*steps, *_lives(keys)]):
            refused = failure(step, replies)
            if refused is not None and code(refused) != "WRONGTYPE":
                raise server.refusal(refused) from refused
        taken = sum(size_bytes for size_bytes in _usage(server, keys) if size_bytes) + _ENTRY_BYTES * len(keys)
        whole = [one for one in records if isinstance(one, Whole)]
        for one, held in zip(whole, _usage(server, [one.key for one in whole]), strict=True):
            if held:
                taken -= held + _ENTRY_BYTES
            elif one.expires_at_ms is not None:
                taken += _ENTRY_BYTES
    finally:
        for _ in server.run(Step.of(0, key, ("UNLINK", key.encode())) for key in keys):
            pass
    return max(0, taken)


def _scratch_steps(records: Sequence[Held], scratch: str) -> Iterator[Step]:
    """Yield what writes each record to a key of about its own key's length, the members of all keys to one."""
    several: Counter[str] = Counter()
    shared: list[tuple[tuple[int, int], Shared]] = []
    for number, one in enumerate(records):
        if isinstance(one, Shared):
            # A member that is in several sets is put in several here too.
            name = one.id if isinstance(one, Entry) else one.member
            order = (entry_number(one.id) or (0, 0)) if isinstance(one, Entry) else (0, 0)
            shared.append((order, replace(one, key=f"{scratch}{type(one).__name__}{several[name]}")))
            several[name] += 1
        elif isinstance(one, Whole):
            key = f"{scratch}{number}:"
            yield whole_step(number, replace(one, key=key.ljust(len(one.key.encode()), "."), expires_at_ms=None), None)
    for _, member in sorted(shared, key=lambda each: each[0]):
        yield shared_step(0, member)


def _lives(keys: Sequence[str]) -> Iterator[Step]:
    return (Step.of(0, key, ("PEXPIRE", key.encode(), str(_LIFE_MS))) for key in keys)


def _usage(server: Server, keys: Sequence[str]) -> list[int | None]:
    found: list[int | None] = [None] * len(keys)
    command = ("MEMORY", "USAGE")
    for step, replies in server.run(
        Step.of(number, key, (*command, key.encode(), "SAMPLES", "0")) for number, key in enumerate(keys)
    ):
        refused = failure(step, replies)
        if refused is not None:
            raise server.refusal(refused) from refused
        found[step.number] = replies[0]
    return found
