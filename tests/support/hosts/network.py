"""A network of hosts around a router, which can lose what two of them send each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.host import Host


def why_not() -> str:
    """Return why hosts cannot be made here, "" where they can."""
    if sys.platform != "linux":
        return "hosts of their own are namespaces of Linux"
    if os.geteuid() != 0:
        return "only root may make hosts of their own (network namespaces)"
    return ""


def require_hosts() -> None:
    """Skip the test where no hosts can be made, for the reason; in CI they must be made."""
    reason = why_not()
    if reason:
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


class Network:
    """Hosts that find each other by name. Nothing of them is left when it is closed, or this process is killed.

    They are in namespaces that no other process can see by name: several networks, of the same addresses, do not
    disturb each other, nor the machine's own network.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with the router alone; the folders of hosts are made in the folder."""
        self._folder = folder
        self._names = folder / "names"
        self._names.write_text("127.0.0.1 localhost\n")
        self._numbers: dict[str, int] = {}
        self._ports: dict[str, str] = {}
        self.hosts: dict[str, Host] = {}
        self._dark: set[str] = set()
        """The addresses of hosts that were removed."""
        self._hidden = folder / "hosts"
        self._router = self._begun("router", 0, 0)
        self._router.start("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", log="forward").process.wait()

    def add(self, name: str, *, ahead_s: int = 0) -> Host:
        """Return a new host of this name, or one in place of a host that was removed, with its address and folder."""
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        with self._names.open("a") as names:
            names.write(f"{_address(number)} {name}\n")
        host = self._begun(name, number, ahead_s)
        port = self._ports[name] = f"port{host.pid}"
        router = self._router.inside
        router("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        router("ip", "address", "add", f"{_gateway(number)}/24", "dev", port)
        router("ip", "link", "set", port, "up")
        host.inside("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.inside("ip", "link", "set", "eth0", "up")
        host.inside("ip", "route", "add", "default", "via", _gateway(number))
        if host.address in self._dark:
            self._dark.remove(host.address)
            self._rule("delete", "from", host.address)
            self._rule("delete", "to", host.address)
        self.hosts[name] = host
        return host

    def remove(self, host: Host) -> None:
        """The host has lost its power: all its processes are killed, and others hear no more from it, not even why."""
        self._rule("add", "from", host.address)
        self._rule("add", "to", host.address)
        self._router.inside("ip", "link", "delete", self._ports.pop(host.name))
        del self.hosts[host.name]
        host.end()
        self._dark.add(host.address)

    def cut(self, one: Host, other: Host) -> None:
        """What the two send each other is lost without a word."""
        self._rule("add", "from", one.address, "to", other.address)
        self._rule("add", "from", other.address, "to", one.address)

    def heal(self, one: Host, other: Host) -> None:
        """What the two send each other arrives again."""
        self._rule("delete", "from", one.address, "to", other.address)
        self._rule("delete", "from", other.address, "to", one.address)

    @contextmanager
    def parted(self, one: Host, other: Host) -> Iterator[None]:
        """What the two send each other is lost during the body."""
        self.cut(one, other)
        try:
            yield
        finally:
            self.heal(one, other)

    def close(self) -> None:
        """All hosts have ended."""
        for host in [*self.hosts.values(), self._router]:
            host.end()

    def _rule(self, action: str, *packets: str) -> None:
        """Add or delete the router's rule that loses these packets."""
        self._router.inside("ip", "rule", action, *packets, "priority", "100", "blackhole")

    def _begun(self, name: str, number: int, ahead_s: int) -> Host:
        folder = self._hidden / name
        return Host.begin(name, _address(number), folder, names=self._names, hidden=self._hidden, ahead_s=ahead_s)


@contextmanager
def networked(folder: Path) -> Iterator[Network]:
    """Yield a network without hosts; all its hosts have ended after the body."""
    network = Network(folder)
    try:
        yield network
    finally:
        network.close()


def _address(number: int) -> str:
    return f"10.77.{number}.2"


def _gateway(number: int) -> str:
    return f"10.77.{number}.1"
