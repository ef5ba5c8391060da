"""What is this machine: its own names and addresses, by whatever way they are written, and nothing else."""

from __future__ import annotations

import socket
from typing import Any

import psutil
import pytest

from stores.this_machine import is_own_host

pytestmark = pytest.mark.usefixtures("starts_server")  # The table of routes is asked as if something were sent.


def own_addresses() -> list[str]:
    """Return every address of an interface of this machine."""
    return [
        found.address
        for addresses in psutil.net_if_addrs().values()
        for found in addresses
        if found.family in (socket.AF_INET, socket.AF_INET6)
    ]


def test_the_addresses_and_the_name_of_this_machine_are_its_own() -> None:
    addresses = own_addresses()
    assert addresses
    names = ["localhost", "db.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", socket.gethostname()]
    assert {name: is_own_host(name) for name in (*names, *addresses)} == dict.fromkeys((*names, *addresses), True)


@pytest.mark.parametrize(
    "host", ["203.0.113.7", "2001:db8::7", "scheduler.invalid", "127.0.0.1.invalid", "", "a b", "\u00fc" * 80]
)
def test_every_other_host_is_another_machine(host: str) -> None:
    assert not is_own_host(host)


def test_no_name_service_is_asked_for_an_address_or_for_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def ask(host: str, port: int, *, flags: int = 0, **keys: Any) -> Any:
        assert flags & socket.AI_NUMERICHOST, "a name service was asked"
        return resolve(host, port, flags=flags, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    assert is_own_host("localhost")
    assert is_own_host(socket.gethostname())
    assert not is_own_host("203.0.113.7")
