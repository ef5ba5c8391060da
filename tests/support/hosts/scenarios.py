"""What happens to a run whose workers are on other hosts, and what must be true afterwards, whatever their engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from waiting import until

from flows import exit_codes
from hosts.host import Host
from hosts.migration import LEASE_S, LIMIT_S, Migration
from hosts.site import WORKERS, Cluster, Site

_QUIET_S = 0.15
"""A request of any size has been sent in less."""


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
    with ExitStack() as keeping, migration.running(coordinator, "backfill") as running:
        if "database" in away:  # Every worker comes to such a batch, as no other is done before.
            comes_to = keeping.enter_context(migration.within_a_batch(*map(site.host, WORKERS)))
            comes_to(worker)
        migration.under_way(worker)
        for name in away:
            site.network.cut(worker, site.host(name))
        cut_at = time.monotonic()
        try:
            until(lambda: time.monotonic() > cut_at + LEASE_S, "end of the lease", limit_s=LIMIT_S)
            keeping.close()
            until(lambda: time.monotonic() > cut_at + 2 * LEASE_S, "time to write", limit_s=LIMIT_S)
            late = migration.changes(worker, since=cut_at + LEASE_S)
        finally:
            for name in away:
                site.network.heal(worker, site.host(name))
        migration.resumed(coordinator, migration.ended(running))
    if "database" in away:
        assert late == []
    migration.prove(coordinator)


def pause_coordinator(migration: Migration, coordinators: Sequence[Host], writers: Sequence[Host]) -> None:
    """A coordinator is paused until another has taken over, and woken; nobody writes for it any more.

    The writers are the hosts that write for the first of the coordinators. One of them is in the middle of a batch.
    """
    first, second = coordinators
    with ExitStack() as keeping, migration.running(first, "backfill") as paused:
        comes_to = keeping.enter_context(migration.within_a_batch(*writers))
        comes_to(writers[0])
        # Of a request that is half sent the rest would arrive when the host is woken, which no fence prevents.
        until(lambda: migration.quiet_s(*writers) > _QUIET_S, "pause between requests", limit_s=LIMIT_S)
        first.pause()
        paused_at = time.monotonic()
        # It copies by itself, so that the targets see who is who.
        running = migration.taken_over(second, runner="threads", address=None)
        took_over = migration.changes(second, since=paused_at)[0].at
        keeping.close()
        first.wake()
        ended = migration.ended(paused)
        outcome = migration.ended(running)
    assert ended.code == exit_codes.FAILED
    assert "E-LEASE-LOST" in ended.err + ended.out
    late = migration.changes(first, *writers, since=took_over)
    assert late == [], f"{took_over}: {late}"
    migration.resumed(second, outcome)
    migration.prove(second)
