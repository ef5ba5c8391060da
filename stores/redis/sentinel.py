"""Sentinels, which know which server of a service takes writes now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import redis.exceptions as driver
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stores.errors import PermanentError, PlanError
from stores.redis.client import AUTH, LOST
from stores.redis.configuration import SENTINEL_SCHEMES, Connection
from stores.redis.connections import TIMEOUTS, Connections
from stores.urls import split_url

_PORT = 26379
_FORM = (
    "url of a service is redis-sentinel://[user:password@]host[:port][,host[:port]...]/service[/database number]; "
    "the hosts are those of its Sentinels"
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that Sentinels watch."""

    name: str
    sentinels: tuple[tuple[str, int], ...]
    """Hosts and ports."""
    url: str
    """That of its servers, with a host that stands for whichever takes writes."""

    @classmethod
    def of(cls, url: str) -> Service | None:
        """Return the service that a URL names, None for the URL of a server; raises ValueError for one of neither."""
        scheme = url.partition("://")[0]
        if scheme not in SENTINEL_SCHEMES:
            return None
        authority, rest = split_url(url)
        login, at, hosts = authority.rpartition("@")
        path, question, query = rest.partition("?")
        name, _, database = path.strip("/").partition("/")
        try:
            found = tuple(_host_and_port(host) for host in hosts.split(","))
        except ValueError:
            raise ValueError(_FORM) from None
        if not name:
            raise ValueError(_FORM)
        return cls(name, found, f"{SENTINEL_SCHEMES[scheme]}://{login}{at}service/{database}{question}{query}")


class ServiceConnections(Connections):
    """Connections to the server of a service that takes writes, as its Sentinels say."""

    def __init__(self, service: Service, way: Connection) -> None:
        """Ask nobody yet; raises ValueError as `Connections`."""
        super().__init__(replace(way, url=service.url))
        self._service = service
        files = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        self._asking: dict[str, Any] = {
            **TIMEOUTS,
            "socket_timeout": way.silent_s,
            **files,
            "ssl": self.encrypted,
            "username": way.sentinel_username,
            "password": way.sentinel_password,
            "retry": Retry(NoBackoff(), 0),
        }
        self._known = False

    @property
    def server(self) -> str:
        """The service's name for people."""
        sentinels = ", ".join(f"{host}:{port}" for host, port in self._service.sentinels)
        return f"redis service {self._service.name}/{self.options.get('db', 0)} (Sentinels: {sentinels})"

    def close_idle(self) -> None:
        """The Sentinels are asked again before anybody is given a connection."""
        super().close_idle()
        self._known = False

    def _locate(self) -> None:
        if self._known:
            return
        at = self._primary()
        if (self.options["host"], self.options.get("port")) != at:
            self._lead_to(at)
        self._known = True

    def _primary(self) -> tuple[str, int]:
        """Return the host and the port of the server that takes writes; raises an error of `LOST` where there is none.

        Raises PlanError for a service that the Sentinels do not know.
        """
        name, known = self._service.name, set[str]()
        cause: Exception | None = None
        for host, port in self._service.sentinels:
            try:
                with Redis(host=host, port=port, **self._asking) as sentinel:
                    states: Mapping[str, Any] = sentinel.sentinel_masters()
            except AUTH as error:
                raise PermanentError(
                    "E-RDS-AUTH",
                    f"the Sentinel at {host}:{port} refuses this user ({error}); set sentinel_username and"
                    " sentinel_password, or correct them",
                ) from error
            except driver.ResponseError as error:
                raise PlanError(
                    "E-RDS-SENTINEL", f"the server at {host}:{port} is no Sentinel; correct the hosts of `url`"
                ) from error
            except LOST as error:
                cause = error
                continue
            known.update(states)
            state = states.get(name)
            if state is not None and state["is_master"] and not (state["is_sdown"] or state["is_odown"]):
                return str(state["ip"]), int(state["port"])
        if known and name not in known:
            raise PlanError(
                "E-RDS-SENTINEL",
                f"the Sentinels of `url` watch no service {name!r}; they watch {', '.join(sorted(known))}",
            )
        raise driver.ConnectionError(f"no server of the service takes writes, as {self.server} say") from cause


def connections_of(way: Connection) -> Connections:
    """Return unopened connections to a server, or to the one of a service; raises ValueError as these do."""
    service = Service.of(way.url)
    if service is not None:
        return ServiceConnections(service, way)
    if way.sentinel_username is not None or way.sentinel_password is not None:
        raise ValueError("sentinel_password: is for a `url` that begins with redis-sentinel:// or rediss-sentinel://")
    return Connections(way)


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError
    return parts.hostname, parts.port or _PORT
