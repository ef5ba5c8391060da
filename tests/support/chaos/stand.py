"""The servers of a soak, started once, and what an iteration has of them: proxies, readers, a server of its own."""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from redis import Redis

from chaos.proxy import Protocol, Proxy, ProxyLoop
from chaos.readers import Readers
from flows.demo import servers

SECRET = f"planted-{secrets.token_hex(12)}"
"""Stands in every password of a soak; nothing that the program writes may hold it."""
_PASSWORD = ("--requirepass", SECRET)
_PROTOCOLS: Mapping[str, Protocol] = {
    "mongodb": "mongodb",
    "redis": "redis",
    "dynamodb": "http",
    "elasticsearch": "http",
    "opensearch": "http",
}
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "soak",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # By default 20 s, which a machine that runs a soak may need for more than that.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
    "PYTHONFAULTHANDLER": "1",
    "SOAK_API_KEY": SECRET,
}


@dataclass(frozen=True)
class Wishes:
    """What an iteration asks of the stand."""

    flavour: str = "elasticsearch"
    """Or opensearch: which of the two serves as the target elasticsearch."""
    cluster: bool = False
    """Whether Redis is a cluster; only one iteration at a time has it."""
    own: str = ""
    """The server that this iteration has alone and may restart; none by default."""


@dataclass(frozen=True)
class Place:
    """What an iteration works with."""

    proxies: Mapping[str, Proxy]
    """By server; the nodes of a cluster are redis, redis-1 and redis-2."""
    readers: Readers
    restart: Callable[[], None] | None = None
    """Ends the server of its own, by force if it keeps what it acknowledged, and starts it again."""

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what every command finds in its environment: the variables that the plan names, and those of AWS."""
        port = {name: proxy.port for name, proxy in self.proxies.items()}
        return {
            **_ENVIRONMENT,
            "PREFECT_HOME": str(folder / "prefect"),
            "SOAK_MONGODB": f"mongodb://127.0.0.1:{port['mongodb']}/?directConnection=true",
            "SOAK_REDIS": f"redis://:{SECRET}@127.0.0.1:{port['redis']}/0",
            "SOAK_DYNAMODB": f"http://127.0.0.1:{port['dynamodb']}",
            "SOAK_ELASTICSEARCH": f"http://127.0.0.1:{port['elasticsearch']}",
        }

    def pause(self, name: str, seconds: float) -> None:
        """Stop the server for some time."""
        process = _listening(self.proxies[name].upstream)
        if process is None:
            return
        process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Stand:
    """The servers that all iterations use."""

    loop: ProxyLoop
    ports: Mapping[str, int]
    folder: Path
    code: Path | None = None
    nodes: Sequence[int] = ()
    """The ports of the nodes of the cluster."""
    node_proxies: Sequence[Proxy] = ()
    cluster_lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def place(self, wishes: Wishes, folder: Path) -> Iterator[Place]:
        """Yield what an iteration works with."""
        with ExitStack() as used:
            ports = {**self.ports, "elasticsearch": self.ports[wishes.flavour]}
            restart = None
            if wishes.own:
                server = _OwnServer(wishes.own, folder / wishes.own)
                used.callback(server.stop)
                ports[wishes.own], restart = server.port, server.restart
            proxies: dict[str, Proxy] = {}
            for name in ("mongodb", "dynamodb", "elasticsearch", "redis"):
                if name == "redis" and wishes.cluster:
                    used.enter_context(self.cluster_lock)
                    names = ["redis", *(f"redis-{number}" for number in range(1, len(self.node_proxies)))]
                    proxies.update(zip(names, self.node_proxies, strict=True))
                else:
                    proxies[name] = used.enter_context(self.loop.proxy(name, ports[name], _PROTOCOLS[name]))
            nodes = self.nodes if wishes.cluster else [ports["redis"]]
            readers = Readers(
                f"mongodb://127.0.0.1:{ports['mongodb']}/?directConnection=true",
                [f"redis://:{SECRET}@127.0.0.1:{node}/0" for node in nodes],
                f"http://127.0.0.1:{ports['dynamodb']}",
                f"http://127.0.0.1:{ports['elasticsearch']}",
            )
            used.callback(readers.close)
            yield Place(proxies, readers, restart)


class _OwnServer:
    """A server that can be ended and started again with its data."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start it."""
        self.port = servers.free_port()
        launch = servers.Launch(free_port=lambda: self.port)
        makers: Mapping[str, Callable[[], AbstractContextManager[str]]] = {
            "mongodb": lambda: servers.mongodb(folder, "--sync-on-commit", launch=launch),
            "redis": lambda: servers.redis(folder, *_PASSWORD, launch=launch),
            "dynamodb": lambda: servers.dynamodb(folder, launch=launch),
            "elasticsearch": lambda: servers.elasticsearch(folder, launch=launch),
        }
        self._make = makers[name]
        self._by_force = name == "redis"
        self._running = self._make()
        self._running.__enter__()

    def restart(self) -> None:
        """End it and start it again on its port."""
        process = _listening(self.port)
        if self._by_force and process is not None:
            process.kill()
        self.stop()
        time.sleep(0.5)
        self._running = self._make()
        self._running.__enter__()

    def stop(self) -> None:
        """End it."""
        self._running.__exit__(None, None, None)


def _listening(port: int) -> psutil.Process | None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(at.laddr.port == port and at.status == psutil.CONN_LISTEN for at in child.net_connections("inet")):
                return child
    return None


@contextmanager
def started(
    folder: Path, code: Path | None = None, *, cluster: bool = False, given: Mapping[str, int] | None = None
) -> Iterator[Stand]:
    """Yield the servers of a soak, with their data in the folder; `given` are the ports of servers that run already."""
    with ExitStack() as running:
        urls = {
            "mongodb": running.enter_context(servers.mongodb(folder / "mongodb", "--oplog-max-entries", "20000")),
            "redis": running.enter_context(servers.redis(folder / "redis", *_PASSWORD)),
            "dynamodb": running.enter_context(servers.dynamodb(folder / "dynamodb")),
            "elasticsearch": running.enter_context(servers.elasticsearch(folder / "elasticsearch")),
            "opensearch": running.enter_context(servers.opensearch(folder / "opensearch")),
        }
        ports = {name: urlsplit(url).port or 0 for name, url in urls.items()} | dict(given or {})
        loop = ProxyLoop()
        running.callback(loop.close)
        nodes, proxies = _cluster(running, loop, folder) if cluster else ([], [])
        yield Stand(loop, ports, folder, code, nodes, proxies)


def _cluster(running: ExitStack, loop: ProxyLoop, folder: Path) -> tuple[list[int], list[Proxy]]:
    """Start a cluster of three nodes, each of which names its proxy as its address."""
    proxies = [running.enter_context(loop.proxy(f"redis-{number}", 0, "redis")) for number in range(3)]
    clients: list[Any] = []
    buses = [servers.free_port() for _ in proxies]
    for number, (proxy, bus) in enumerate(zip(proxies, buses, strict=True)):
        announced = ("--cluster-announce-port", str(proxy.port), "--cluster-announce-bus-port", str(bus))
        options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-announce-ip", "127.0.0.1")
        url = running.enter_context(servers.redis(folder / f"node{number}", *options, *announced, *_PASSWORD))
        proxy.upstream = urlsplit(url).port or 0
        clients.append(Redis(port=proxy.upstream, password=SECRET))
    bounds = [0, 5461, 10922, 16384]
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", proxies[number].port, buses[number])
    give_up = time.monotonic() + 30
    while not all(_agrees(client) for client in clients):
        if time.monotonic() > give_up:
            raise TimeoutError("the nodes of the cluster do not find each other")
        time.sleep(0.1)
    return [proxy.upstream for proxy in proxies], proxies


def _agrees(client: Any) -> bool:
    told = client.execute_command("CLUSTER INFO")
    return bool(told["cluster_state"] == "ok" and told["cluster_known_nodes"] == "3")
