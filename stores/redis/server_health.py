"""Evictions, restarts and fail-overs of the servers, found in what they report about themselves (R70, R73)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stores.redis.client import Server, parsed_info

Statuses = Sequence["ServerStatus"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What one server reported about itself at one time."""

    place: str
    run_id: str
    """Changes when the server is started anew."""
    replication_id: str
    """Changes when another server takes over, or this one does."""
    evicted_keys: int
    """Keys dropped for lack of memory since the server's start."""
    former_id: str = ""
    """The replication id of the server whose place it has taken, as its replica; "" or zeros for none."""

    @property
    def life(self) -> tuple[str, str]:
        """While this is the same, nothing that was acknowledged is lost."""
        return self.run_id, self.replication_id


def server_statuses(server: Server) -> Statuses:
    """Return the status of every server that holds keys."""
    seen = []
    for primary in server.primaries():
        (reply,) = primary.ask(("INFO",))
        info = parsed_info(reply)
        evicted = int(info.get("evicted_keys", "0"))
        ids = (info.get("run_id", ""), info.get("master_replid", ""))
        seen.append(ServerStatus(primary.place, *ids, evicted, info.get("master_replid2", "")))
    return seen


def as_design(seen: Statuses) -> Mapping[str, Any]:
    """Return the statuses as data to be remembered."""
    return {"servers": [asdict(status) for status in seen]}


def of_design(design: Mapping[str, Any]) -> Statuses:
    """Return what `as_design` was given."""
    return [ServerStatus(**status) for status in design["servers"]]


def recognize(design: Mapping[str, Any], now: Statuses) -> Mapping[str, Any] | None:
    """Return the design with the replication ids of today, None unless each of its servers, or its heir, is there.

    A replica that is promoted keeps the id of its primary as its former one, so the ids of each server make a chain.
    """
    chains = design.get("replication_ids") or [[status.replication_id] for status in of_design(design)]
    longer = []
    for chain in chains:
        heir = next(
            (status for status in now if {status.replication_id, status.former_id} & set(filter(None, chain))), None
        )
        if heir is None:
            return None
        longer.append(sorted({*chain, heir.replication_id}))
    return {**design, "replication_ids": longer}


def faults(began: Statuses | None, compared: Statuses | None, now: Statuses) -> list[str]:
    """Return why records that were read back may be gone by now.

    `began` are the statuses before the first record was written, `compared` those before the first record was read
    back. Each may be None.
    """
    faults_found = []
    evicted = _evicted(_by_run(compared or ()) | _by_run(began or ()), now)
    if evicted:
        places = ", ".join(
            f"{place} dropped {keys} {'key' if keys == 1 else 'keys'}" for place, keys in evicted.items()
        )
        faults_found.append(
            f"{places} for lack of memory since the copy began (evicted_keys), and more may have gone since they were"
            " compared; give it more memory and maxmemory-policy noeviction, then start over with backfill --restart"
        )
    before = compared if compared is not None else began
    if before is None or {status.life for status in before} == {status.life for status in now}:
        return faults_found
    changed = "was restarted, replaced by a fail-over, or given its first replica"
    if compared is not None:
        faults_found.append(
            f"a server {changed} during the verification, so the verdict is about the old server; verify again"
        )
    else:
        faults_found.append(
            f"a server {changed} since the copy began, so what it acknowledged may be gone (R73);"
            " compare every record: offramp verify --level full"
        )
    return faults_found


def _by_run(seen: Iterable[ServerStatus]) -> dict[str, ServerStatus]:
    return {status.run_id: status for status in seen}


def _evicted(before: Mapping[str, ServerStatus], now: Statuses) -> dict[str, int]:
    """Return the keys that each server dropped since then; a counter that went back was reset meanwhile."""
    dropped = {}
    for status in now:
        evicted = status.evicted_keys
        known = before[status.run_id].evicted_keys if status.run_id in before else 0
        dropped[status.place] = evicted - known if evicted >= known else evicted
    return {place: keys for place, keys in dropped.items() if keys}
