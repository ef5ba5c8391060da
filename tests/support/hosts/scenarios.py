"""What happens to a run whose workers are on other hosts, and what must be true afterwards, whatever their engine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from waiting import until

from flows import exit_codes
from hosts.host import Host
from hosts.migration import LEASE_S, LIMIT_S, Migration
from hosts.site import WORKERS, Cluster, Site


def lose_worker(site: Site, cluster: Cluster, migration: Migration, coordinator: Host) -> None:
    """A worker's host loses its power while it copies; the run, or the same command again, copies all of it."""
    with migration.running(coordinator, "backfill") as running:
        migration.under_way(site.host("worker-2"))
        site.network.remove(site.host("worker-2"))
        try:
            migration.resumed(coordinator, migration.ended(running))
        finally:
            cluster.begin("worker-2")
    migration.prove(coordinator)


def part_worker(site: Site, migration: Migration, coordinator: Host, away: Sequence[str]) -> None:
    """A worker reaches some hosts no more until its lease is over, and then again; all is copied, once.

    A worker that does not reach the state's database writes nothing once its lease is over.
    """
    worker = site.host("worker-1")
    with migration.running(coordinator, "backfill") as running:
        migration.under_way(worker)
        for name in away:
            site.network.cut(worker, site.host(name))
        cut_at = time.monotonic()
        try:
            until(lambda: time.monotonic() > cut_at + 2 * LEASE_S, "end of the lease", limit_s=LIMIT_S)
            late = migration.changes(worker, since=cut_at + LEASE_S)
        finally:
            for name in away:
                site.network.heal(worker, site.host(name))
        migration.resumed(coordinator, migration.ended(running))
    if "database" in away:
        assert late == []
    migration.prove(coordinator)


def pause_coordinator(site: Site, migration: Migration, coordinators: Sequence[Host]) -> None:
    """A coordinator is paused until another has taken over, and woken; neither it nor its workers write any more."""
    first, second = coordinators
    with migration.running(first, "backfill") as paused:
        migration.under_way(site.host("worker-1"))
        first.pause()
        paused_at = time.monotonic()
        # It copies by itself, so that the targets see who is who.
        running = migration.taken_over(second, runner="threads", address=None)
        took_over = migration.changes(second, since=paused_at)[0].at
        first.wake()
        ended = migration.ended(paused)
        outcome = migration.ended(running)
    assert ended.code == exit_codes.FAILED
    assert "E-LEASE-LOST" in ended.err + ended.out
    zombies = [first, *(site.host(name) for name in WORKERS)]
    assert migration.changes(*zombies, since=took_over) == []
    migration.resumed(second, outcome)
    migration.prove(second)
