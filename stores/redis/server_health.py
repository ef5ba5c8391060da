"""What servers did to what they held: evictions, restarts and fail-overs, by what they say of themselves (R70, R73)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stores.redis.client import Server, parsed_info

Seen = Sequence["Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What one server said of itself at one time."""

    place: str
    run_id: str
    """Changes when the server is started anew."""
    replication_id: str
    """Changes when another server takes over, or this one does."""
    evicted_keys: int
    """Keys dropped for lack of memory since the server's start."""

    @property
    def life(self) -> tuple[str, str]:
        """While this is the same, nothing that was acknowledged is lost."""
        return self.run_id, self.replication_id


def standings(server: Server) -> Seen:
    """Return how every server that holds keys stands now."""
    seen = []
    for one in server.primaries():
        (told,) = one.ask(("INFO",))
        info = parsed_info(told)
        evicted = int(info.get("evicted_keys", "0"))
        seen.append(Standing(one.place, info.get("run_id", ""), info.get("master_replid", ""), evicted))
    return seen


def as_design(seen: Seen) -> Mapping[str, Any]:
    """Return how the servers stood as data to be remembered."""
    return {"servers": [asdict(one) for one in seen]}


def of_design(design: Mapping[str, Any]) -> Seen:
    """Return what `as_design` was given."""
    return [Standing(**one) for one in design["servers"]]


def faults(began: Seen | None, compared: Seen | None, now: Seen) -> list[str]:
    """Return why what was seen to be held may be held no more.

    `began` is how the servers stood before the first record was written, `compared` before the first one was read back;
    either may never have been.
    """
    found = []
    evicted = _evicted(_by_run(compared or ()) | _by_run(began or ()), now)
    if evicted:
        places = ", ".join(f"{place} dropped {keys} keys" for place, keys in evicted.items())
        found.append(
            f"{places} for lack of memory since the copy began (evicted_keys), and more may have gone since they were"
            " compared; give it more memory and maxmemory-policy noeviction, then start over with backfill --restart"
        )
    before = compared if compared is not None else began
    if before is None or {one.life for one in before} == {one.life for one in now}:
        return found
    changed = "was restarted, replaced by a fail-over, or given its first replica"
    if compared is not None:
        found.append(
            f"a server {changed} during the verification, so the verdict is about the old server; verify again"
        )
    else:
        found.append(
            f"a server {changed} since the copy began, so what it acknowledged may be gone (R73);"
            " compare every record: offramp verify --level full"
        )
    return found


def _by_run(seen: Iterable[Standing]) -> dict[str, Standing]:
    return {one.run_id: one for one in seen}


def _evicted(before: Mapping[str, Standing], now: Seen) -> dict[str, int]:
    """Return the keys that each server dropped since then; a counter that went back was reset meanwhile."""
    dropped = {}
    for one in now:
        known = before[one.run_id].evicted_keys if one.run_id in before else 0
        dropped[one.place] = one.evicted_keys - known if one.evicted_keys >= known else one.evicted_keys
    return {place: keys for place, keys in dropped.items() if keys}
