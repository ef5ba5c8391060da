"""A plan on many hosts, workers on Dask: whatever fails between them, the same command moves everything, once.

No two of the hosts that work on it have the same wall clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hosts.host import Host
from hosts.migration import Migration
from hosts.scenarios import lose_worker, part_worker, pause_coordinator
from hosts.site import TARGETS, WORKERS, DaskCluster, PrefectServer, Site

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(site: Site) -> DaskCluster:
    PrefectServer(site)
    return DaskCluster(site)


@pytest.fixture
def migration(site: Site, cluster: DaskCluster, unique: str) -> Migration:
    return Migration(site, unique, cluster.run)


def test_a_worker_s_host_that_loses_its_power_loses_nothing(
    site: Site, cluster: DaskCluster, migration: Migration, coordinators: Sequence[Host]
) -> None:
    lose_worker(site, cluster, migration, coordinators[0])


@pytest.mark.parametrize("away", [["database"], ["source"], TARGETS], ids=["state", "source", "targets"])
def test_a_worker_that_is_cut_off_until_its_lease_is_over_does_no_harm(
    site: Site, migration: Migration, coordinators: Sequence[Host], away: Sequence[str]
) -> None:
    part_worker(site, migration, coordinators[1], away)


def test_a_database_that_is_killed_and_started_again_has_forgotten_nothing(
    site: Site, migration: Migration, coordinators: Sequence[Host]
) -> None:
    with migration.running(coordinators[0], "backfill") as running:
        migration.under_way(*(site.host(name) for name in WORKERS))
        site.database.kill()
        site.database.start()
        migration.resumed(coordinators[0], migration.ended(running))
    migration.prove(coordinators[0])


def test_a_coordinator_that_was_paused_past_its_lease_writes_nothing_more(
    site: Site, migration: Migration, coordinators: Sequence[Host]
) -> None:
    pause_coordinator(migration, coordinators, [site.host(name) for name in WORKERS])
