"""Two coordinators whose wall clocks are three minutes apart: one at a time writes a route, as the database says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hosts.host import Host
from hosts.migration import Migration
from hosts.scenarios import pause_coordinator
from hosts.site import Site

from flows import exit_codes

pytestmark = pytest.mark.process


@pytest.fixture
def migration(site: Site, unique: str) -> Migration:
    return Migration(site, unique, {"runner": "threads"})


def test_a_coordinator_whose_clock_is_ahead_takes_no_route_away(
    migration: Migration, coordinators: Sequence[Host]
) -> None:
    """By its clock the lease of the other has been over for three minutes."""
    ahead, behind = coordinators
    with migration.running(behind, "backfill") as running:
        migration.under_way(behind)
        with migration.running(ahead, "backfill") as refused:
            outcome = migration.ended(refused)
        assert outcome.code == exit_codes.FAILED
        assert "E-LEASE-HELD" in outcome.err + outcome.out
        migration.resumed(behind, migration.ended(running))
    migration.prove(behind)


def test_a_coordinator_whose_clock_is_behind_takes_a_dead_one_s_routes(
    site: Site, migration: Migration, coordinators: Sequence[Host]
) -> None:
    """By its clock the lease of the dead one lasts three minutes more, which is longer than the test waits."""
    ahead, behind = coordinators
    with migration.running(ahead, "backfill"):
        migration.under_way(ahead)
        site.network.remove(ahead)
    migration.resumed(behind)
    migration.prove(behind)


def test_a_coordinator_that_was_paused_past_its_lease_writes_nothing_more(
    migration: Migration, coordinators: Sequence[Host]
) -> None:
    pause_coordinator(migration, coordinators, coordinators[:1])
