"""What is asked of a server, and of a key, before a route's records are written to it (R70, R75)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from stores.errors import PlanError
from stores.redis.client import NO_JSON, Server, parsed_info
from stores.redis.commands import JSON
from stores.redis.keys import OwnKeys
from stores.transport_security import is_this_machine, unchecked, unencrypted


def check_server(server: Server, wait_s: float, *, json: bool, allow_eviction: bool, in_cluster: bool) -> Sequence[str]:
    """Return what a person should know of a server that holds keys; raises PlanError if it cannot hold them.

    `json` says that the keys hold JSON documents.
    """
    known = ("COMMAND", "INFO", "PEXPIRETIME", "JSON.SET")
    _, described, reply = server.ask(("PING",), known, ("INFO",), deadline_s=wait_s)
    info, place = parsed_info(reply), server.place
    if info.get("redis_mode") == "sentinel" or info.get("server_mode") == "sentinel":
        raise PlanError(
            "E-RDS-SENTINEL",
            f"{place} is a Sentinel, which holds no keys; write redis-sentinel://HOST:PORT/SERVICE in `url`, with the"
            " service that it watches",
        )
    dates, json_module = (bool(description) for description in described)
    if not dates:
        version = info.get("valkey_version") or info.get("redis_version", "unknown")
        raise PlanError("E-RDS-VERSION", f"{place} is version {version} without PEXPIRETIME; use 7.0 or later")
    if info.get("cluster_enabled") == "1" and not in_cluster:
        raise PlanError("E-RDS-CLUSTER", f"{place} is a cluster; set cluster: true beside its url")
    if info.get("role") == "slave":
        raise PlanError("E-RDS-REPLICA", f"{place} is a replica, which takes no writes; set url to its primary")
    if json and not json_module:
        raise PlanError("E-RDS-NOJSON", f"{place} {NO_JSON}")
    return _check_eviction(info, place, allow_eviction=allow_eviction)


def product_of(server: Server, wait_s: float) -> str:
    """Return product and version as the server says them, such as ``Valkey 9.1.2``; the product where it hides it."""
    (reply,) = server.primaries(wait_s)[0].ask(("INFO", "server"), deadline_s=wait_s)
    info = parsed_info(reply)
    product = "Valkey" if "valkey_version" in info else "Redis"
    return f"{product} {info.get('valkey_version') or info.get('redis_version', '')}".strip()


def transport_notes(url: str, place: str) -> Iterator[str]:
    """Yield what a person should know of the way to a server; nothing for one on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or is_this_machine(parts.hostname or "localhost"):
        return
    options = {name.lower(): value.lower() for name, value in parse_qsl(parts.query)}
    if parts.scheme in ("redis", "redis-sentinel"):
        yield unencrypted(place, f"write {parts.scheme.replace('redis', 'rediss')}:// in `url`")
    elif options.get("ssl_cert_reqs") in ("none", "optional"):
        yield unchecked(place, "remove ssl_cert_reqs from `url`")
    elif options.get("ssl_check_hostname") in ("false", "no", "0", "f", "n"):
        yield unchecked(place, "remove ssl_check_hostname from `url`")


def check_type(kind: str, own: OwnKeys, shared_type: str | None) -> None:
    """Raise PlanError where the route's one key is of another type than what is written to it."""
    if shared_type is not None:
        expected: tuple[str, ...] = ("none", shared_type)
    elif own.prefix is None:
        expected = ("none", "string", "hash", "set", "list", "zset", JSON)
    else:
        return  # A route of documents owns its name as a key only because a sorted set might be there.
    if kind not in expected:
        raise PlanError(
            "E-RDS-TYPE",
            f"key {own.key!r} holds a {kind} where {' or '.join(expected[1:])} is written; "
            "remove that key, or choose another `key`",
        )


def _check_eviction(info: Mapping[str, str], place: str, *, allow_eviction: bool) -> Sequence[str]:
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        return ()
    if policy is None:
        return (f"{place} does not tell whether it evicts keys when its memory is full",)
    if info.get("maxmemory") == "0":
        return (f"{place} has maxmemory-policy {policy}: once it has a maxmemory, it evicts keys silently",)
    if not allow_eviction:
        raise PlanError(
            "E-RDS-EVICTION",
            f"{place} has maxmemory-policy {policy} and evicts keys silently when its memory is full; "
            "set noeviction there, or accept the loss with allow_eviction: true",
        )
    return (f"{place} has maxmemory-policy {policy}: what is written may be dropped at any time",)
