"""The address of a cluster of Dask or Ray: where it is, and what that asks of the plan's state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from stores.this_machine import is_own_host
from stores.transport_security import is_this_machine

_HERE = ("auto", "local")
"""Addresses of Ray that name no host: a Ray of this machine."""
_STATE = "state: postgresql://... (docs/workers.md#workers-on-other-machines)"


def host_of(address: str) -> str:
    """Return the host in the address of a cluster, or of one of its workers; "" where it names none."""
    if address in _HERE or address.startswith("inproc://"):
        return ""
    return urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""


def is_here(address: str) -> bool:
    """Return whether the address is of this machine. A scheduler here may still have workers elsewhere."""
    host = host_of(address)
    return not host or is_own_host(host)


def is_one_machines(state: str) -> bool:
    """Return whether the state of this URL is a file, which the processes of one machine alone can share."""
    return state.startswith("sqlite")


def address_fault(address: str, state: str) -> str | None:
    """Return why the plan's state cannot serve a cluster at this address, None where it can."""
    if not is_one_machines(state) or is_here(address):
        return None
    return (
        f"{host_of(address)} is another machine, and `state` is an SQLite file, which workers there cannot share; write"
        f" {_STATE}, or name a scheduler of this machine"
    )


def workers_fault(hosts: Iterable[str]) -> str | None:
    """Return why a state that is a file cannot serve workers of these hosts, None where it can."""
    away = sorted({host for host in hosts if not is_own_host(host)})
    if not away:
        return None
    return (
        f"run.address: the cluster has workers on other machines ({', '.join(away[:3])}), and `state` is an SQLite"
        f" file, which they cannot share; write {_STATE}, or start all workers on this machine"
    )


def address_notes(address: str | None, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what a person should know of the way to the cluster; nothing for one that asks who connects to it."""
    if not address or (scheme := urlsplit(address).scheme) in ("tls", "wss"):
        return
    host = host_of(address)
    asks_for_token = (scheme == "ray" or address in _HERE) and environment.get("RAY_AUTH_MODE") == "token"
    if host and not is_this_machine(host):
        yield (
            f"the cluster at {host} is reached without TLS: jobs, the lease and the URL of the state, as the plan"
            " writes it, can be read on the way (no secret and no document is there), and whoever can connect to the"
            " cluster can run code on its workers, which have the plan's secrets; use tls:// with Dask, or keep others"
            " out of its network"
        )
    elif not asks_for_token:
        yield (
            f"the cluster at {host or address!r} asks nobody who connects to it: every user of this machine can run"
            " code on its workers, which have the plan's secrets; use tls:// with Dask, or RAY_AUTH_MODE=token with"
            " Ray, unless the machine is yours alone"
        )
