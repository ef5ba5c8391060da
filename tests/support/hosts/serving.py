"""In a host: a store that other hosts reach, and a log of who changed something in it: python -m hosts.serving NAME.

The servers of the demo listen on the loopback, of which each host has its own. A target is reached through a relay,
which notes each request that changes something before the target gets it, whatever the program says of itself.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from certificates import Certificate
from relay import Seen, relaying
from tls_relay import tls_relay

from flows.demo import servers
from hosts.witness import LOG, is_kept_back

READY = "serving"
"""Printed once other hosts are answered."""
PORTS = {"mongodb": 27017, "redis": 6379, "dynamodb": 8000, "elasticsearch": 9200}
CERTIFICATE = Certificate(Path("server.pem"), Path("server.key"), Path("server.both.pem"))
"""Of DynamoDB, which is reached by TLS because requests to it are signed; in the folder of its host."""
_ANYWHERE = "0.0.0.0"
_LOOK_EVERY_S = 0.02
_TARGETS = {"redis": servers.redis, "dynamodb": servers.dynamodb, "elasticsearch": servers.elasticsearch}


@contextmanager
def serving(name: str, folder: Path, bytes_per_s: float) -> Iterator[None]:
    """Let other hosts reach the server during the body; a target takes changes no faster on each connection."""
    at = (_ANYWHERE, PORTS[name])
    with ExitStack() as running:
        if name == "mongodb":
            launch = servers.Launch(free_port=lambda: PORTS[name])
            options = ("--host", _ANYWHERE, "--oplog-max-entries", "2000")
            running.enter_context(servers.mongodb(folder, *options, launch=launch))
            yield
            return
        look = _look(running.enter_context((folder / LOG).open("a", encoding="utf-8")), folder)
        url = running.enter_context(_TARGETS[name](folder))
        if name == "dynamodb":
            relay = running.enter_context(relaying(url, look=look, bytes_per_s=bytes_per_s))
            port = urlsplit(relay.url).port or 0
            running.enter_context(tls_relay(port, CERTIFICATE, at=at, from_sender=True))
        else:
            redis = name == "redis"
            running.enter_context(relaying(url, redis=redis, at=at, look=look, bytes_per_s=bytes_per_s))
        yield


def _look(log: TextIO, folder: Path) -> Callable[[Seen], None]:
    """Return what notes a request that changes something, and lets it wait if a test says so."""
    lock = threading.Lock()

    def look(seen: Seen) -> None:
        if seen.changes:
            with lock:
                print(json.dumps([seen.began, seen.sender, len(seen.data)]), file=log, flush=True)
            while is_kept_back(seen.sender, len(seen.data), folder):
                threading.Event().wait(_LOOK_EVERY_S)

    return look


def main(name: str, bytes_per_s: str = "inf") -> None:
    """Serve in the current folder until the host ends."""
    with serving(name, Path.cwd(), float(bytes_per_s)):
        print(READY, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
