"""A Dask cluster of the demo: a scheduler and workers, each a process of its own, as they would be on machines.

A scheduler and a worker run whatever they are sent. So they, and whoever sends them work, ask each other for a
certificate that is made for the cluster and can be read by this user alone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.demo.server_process import LAUNCH, Launch, Server, made, serving

_REGISTERED = "Registered to:"
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """Where a cluster is, and what a process needs to talk to it."""

    address: str
    environment: Mapping[str, str]
    """Dask's own variables, which name the files of the certificate."""


@contextmanager
def dask_cluster(
    directory: Path, workers: int, environment: Callable[[str], Mapping[str, str]], *, launch: Launch = LAUNCH
) -> Iterator[DaskCluster]:
    """Give a cluster of so many workers of one thread, each a process in a folder of its own.

    Their environment is made from the address of the scheduler.
    """
    directory = made(directory)
    security = _certificate(directory)
    with ExitStack() as running:
        address = running.enter_context(serving(_scheduler(made(directory / "scheduler"), security, launch)))
        for number in range(1, workers + 1):
            folder = made(directory / f"worker-{number}")
            running.enter_context(
                serving(_worker(folder, number, address, {**environment(address), **security}, launch))
            )
        yield DaskCluster(address, security)


def _scheduler(directory: Path, security: Mapping[str, str], launch: Launch) -> Server:
    return Server(
        name="Dask scheduler",
        directory=directory,
        command=lambda port: (
            *(sys.executable, "-m", "dask", "scheduler", "--protocol", "tls", "--host", "127.0.0.1"),
            *("--port", str(port), "--no-dashboard", "--no-show"),
        ),
        answers=_listens,
        url="tls://127.0.0.1:{port}",
        launch=launch,
        environment=lambda _: security,
    )


def _worker(directory: Path, number: int, address: str, environment: Mapping[str, str], launch: Launch) -> Server:
    server = Server(
        name="Dask worker",
        directory=directory,
        command=lambda port: (
            *(sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1", "--worker-port", str(port)),
            *("--name", f"worker-{number}", "--nthreads", "1", "--no-nanny", "--no-dashboard"),
            *("--local-directory", str(directory)),
        ),
        # It takes connections before it has work from its scheduler.
        answers=lambda _: _REGISTERED in server.log.read_text(errors="replace"),
        url="tls://127.0.0.1:{port}",
        launch=launch,
        environment=lambda _: environment,
    )
    return server


def _certificate(directory: Path) -> Mapping[str, str]:
    """Return the variables by which Dask finds the certificate and its key, which are in the directory now."""
    from distributed.security import Security

    security = Security.temporary()  # type: ignore[no-untyped-call]
    paths = {}
    for name, text in (("certificate", security.tls_ca_file), ("key", security.tls_client_key)):
        paths[name] = directory / f"{name}.pem"
        file = os.open(paths[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(text)
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        f"{tls}CA_FILE": str(paths["certificate"]),
        **{f"{tls}{role}__CERT": str(paths["certificate"]) for role in roles},
        **{f"{tls}{role}__KEY": str(paths["key"]) for role in roles},
    }


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True
