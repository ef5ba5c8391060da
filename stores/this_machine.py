"""Whether a host is this machine, by its addresses: what only works on one machine asks before it begins."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from stores.transport_security import is_this_machine

_ANY_PORT = 9


def is_own_host(host: str) -> bool:
    """Return whether the name or address leads to this machine alone; False for a name that cannot be resolved.

    A name service is asked only for a name that is neither this machine's nor one of ``localhost``.
    """
    name = host.strip("[]").lower().rstrip(".")
    if is_this_machine(name) or name == socket.gethostname().lower():
        return True
    found = _addresses(name, socket.AI_NUMERICHOST) or _addresses(name)
    return bool(found) and all(_is_own(family, address) for family, address in found)


def _addresses(name: str, flags: int = 0) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(name, _ANY_PORT, type=socket.SOCK_DGRAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    return [(family, address) for family, _, _, _, address in found]


def _is_own(family: int, address: Any) -> bool:
    """Return whether an address is one of this machine's interfaces: then its own way to it begins at that address."""
    wanted = ip_address(address[0])
    if wanted.is_loopback or wanted.is_unspecified:
        return True
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)  # It only asks the table of routes; nothing is sent.
        except OSError:
            return False
        return ip_address(probe.getsockname()[0]) == wanted
