"""A plan on many hosts, workers on Ray: whatever fails between them, the same command moves everything, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hosts.host import Host
from hosts.migration import Migration
from hosts.scenarios import lose_worker, part_worker, pause_coordinator
from hosts.site import WORKERS, PrefectServer, RayCluster, Site

pytestmark = [pytest.mark.process, pytest.mark.ray]


@pytest.fixture(scope="module")
def clocks() -> Mapping[str, int]:
    """Ray itself waits by the wall clock, by that of the machine and not of the process."""
    return {"coordinator-1": 0, "coordinator-2": 0}


@pytest.fixture(scope="module")
def cluster(site: Site) -> RayCluster:
    PrefectServer(site)
    return RayCluster(site)


@pytest.fixture
def migration(site: Site, cluster: RayCluster, unique: str) -> Migration:
    return Migration(site, unique, cluster.run)


def test_a_worker_s_host_that_loses_its_power_loses_nothing(
    site: Site, cluster: RayCluster, migration: Migration, coordinators: Sequence[Host]
) -> None:
    lose_worker(site, cluster, migration, coordinators[0])


def test_a_worker_that_is_cut_off_from_the_state_does_no_harm(
    site: Site, migration: Migration, coordinators: Sequence[Host]
) -> None:
    part_worker(site, migration, coordinators[0], ["database"])


def test_a_coordinator_that_was_paused_past_its_lease_writes_nothing_more(
    site: Site, migration: Migration, coordinators: Sequence[Host]
) -> None:
    pause_coordinator(migration, coordinators, [site.host(name) for name in WORKERS])
