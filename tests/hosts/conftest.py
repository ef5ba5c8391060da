"""A site of hosts for each file of tests, and two coordinators for each test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from hosts.host import Host
from hosts.network import networked, require_hosts
from hosts.site import Site


@pytest.fixture(scope="module")
def site(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_hosts()
    folder = tmp_path_factory.mktemp("site")
    with networked(folder) as network:
        yield Site(network, folder / "authority")


@pytest.fixture(scope="module")
def clocks() -> Mapping[str, int]:
    """The coordinators, and how far the wall clock of each is ahead of the database's, in seconds."""
    return {"coordinator-1": 90, "coordinator-2": -90}


@pytest.fixture
def coordinators(site: Site, clocks: Mapping[str, int]) -> Iterator[Sequence[Host]]:
    """Two hosts that can run the plan."""
    yield [site.network.add(name, ahead_s=ahead_s) for name, ahead_s in clocks.items()]
    for name in clocks:
        if name in site.network.hosts:
            site.network.remove(site.host(name))
