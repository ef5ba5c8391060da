"""The servers of a soak, started once, and the proxies and the place of one iteration."""

from __future__ import annotations

import contextlib
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from chaos.proxy import Proxy, ProxyLoop
from chaos.readers import Readers
from flows.demo import servers

SECRET = f"planted-{secrets.token_hex(12)}"
"""Stands in every password of a soak; nothing that the program writes may hold it."""

_AWS = {
    "AWS_ACCESS_KEY_ID": "soak",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PYTHONFAULTHANDLER": "1",
}


@dataclass(frozen=True)
class Stand:
    """The servers that all iterations use."""

    loop: ProxyLoop
    readers: Readers
    ports: Mapping[str, int]
    folder: Path
    code: Path | None = None

    @contextmanager
    def proxies(self) -> Iterator[dict[str, Proxy]]:
        """Yield a proxy before each server, of this iteration's own."""
        with ExitStack() as open_proxies:
            yield {
                "mongodb": open_proxies.enter_context(self.loop.proxy("mongodb", self.ports["mongodb"], "mongodb")),
                "redis": open_proxies.enter_context(self.loop.proxy("redis", self.ports["redis"], "redis")),
                "dynamodb": open_proxies.enter_context(self.loop.proxy("dynamodb", self.ports["dynamodb"], "http")),
                "elasticsearch": open_proxies.enter_context(
                    self.loop.proxy("elasticsearch", self.ports["elasticsearch"], "http")
                ),
            }

    def pause(self, name: str, seconds: float) -> None:
        """Stop the server for some time."""
        process = _listening(self.ports[name])
        if process is None:
            return
        process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)


def _listening(port: int) -> psutil.Process | None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(at.laddr.port == port and at.status == psutil.CONN_LISTEN for at in child.net_connections("inet")):
                return child
    return None


@contextmanager
def started(folder: Path, code: Path | None = None) -> Iterator[Stand]:
    """Yield the servers of a soak, with their data in the folder."""
    with ExitStack() as running:
        mongodb = running.enter_context(servers.mongodb(folder / "mongodb", "--oplog-max-entries", "20000"))
        redis = running.enter_context(servers.redis(folder / "redis", "--requirepass", SECRET))
        dynamodb = running.enter_context(servers.dynamodb(folder / "dynamodb"))
        elasticsearch = running.enter_context(servers.elasticsearch(folder / "elasticsearch"))
        addresses = {"mongodb": mongodb, "redis": redis, "dynamodb": dynamodb, "elasticsearch": elasticsearch}
        ports = {name: urlsplit(address).port or 0 for name, address in addresses.items()}
        loop = ProxyLoop()
        running.callback(loop.close)
        direct = f"redis://:{SECRET}@127.0.0.1:{ports['redis']}/0"
        yield Stand(loop, Readers(mongodb, direct, dynamodb, elasticsearch), ports, folder, code)


@dataclass(frozen=True)
class Addresses:
    """Where an iteration's plan finds the servers: the proxies."""

    proxies: Mapping[str, Proxy] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return what every command finds in its environment: the variables that the plan names, and those of AWS."""
        port = {name: proxy.port for name, proxy in self.proxies.items()}
        return {
            **_AWS,
            "SOAK_MONGODB": f"mongodb://127.0.0.1:{port['mongodb']}/?directConnection=true",
            "SOAK_REDIS": f"redis://:{SECRET}@127.0.0.1:{port['redis']}/0",
            "SOAK_DYNAMODB": f"http://127.0.0.1:{port['dynamodb']}",
            "SOAK_ELASTICSEARCH": f"http://127.0.0.1:{port['elasticsearch']}",
            "SOAK_API_KEY": SECRET,
        }
