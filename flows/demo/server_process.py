"""A server of the demo as a process: started on a free port, ready when it answers, and gone when its block ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stores.errors import PermanentError

_PORT_ATTEMPTS = 5
_POLL_S = 0.02
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


LAUNCH = Launch()


@dataclass(frozen=True, slots=True)
class Server:
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
def serving(server: Server) -> Iterator[str]:
    """Yield the server's URL once it answers; the server has ended after the block, however the block ended."""
    process, port = _started(server)
    try:
        yield server.url.format(port=port)
    finally:
        _stop(server, process)


def tied_command(
    command: Sequence[str],
    stop_signal: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    group: int | None = None,
) -> Sequence[str]:
    """Return how the command is started so that it gets the signal when this process ends, however that ends.

    It runs as the user and the group, where they are given.
    """
    tie = [str(os.getpid()), str(int(stop_signal)), *(["", ""] if user is None else [str(user), str(group)])]
    return [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, *tie, *command]


def _started(server: Server) -> tuple[subprocess.Popen[bytes], int]:
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


def _launch(server: Server, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DO_NOT_TRACK": "1", **server.environment(port)}
    command = tied_command(server.command(port), server.stop_signal, server.user, server.group)
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


def _ready(server: Server, process: subprocess.Popen[bytes], port: int) -> bool:
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


def _stop(server: Server, process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes it started: in order if they end in time, by force after `stop_within_s`."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, server.stop_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(server.launch.stop_within_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def made(directory: Path) -> Path:
    """Create the directory and return its absolute path: the server works in it and gets paths within it."""
    directory.mkdir(parents=True, exist_ok=True)
    return directory.resolve()


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
