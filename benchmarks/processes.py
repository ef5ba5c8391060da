"""Programs that are measured, and servers that stay up beside them; each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from stores.errors import PermanentError

_MEASURE_COMMAND = Path(__file__).with_name("measure_command.py")
_ROOT = Path(__file__).parents[1]
_AWS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_TOLD_LINES = 15
_PREFECT_READY_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a program cost, its children included."""

    cpu_s: float
    """User and system time."""
    wall_s: float
    peak_mb: float
    """The most memory that it, or a child of it, held at once."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Return what the command cost; raises PermanentError with the end of its output if it failed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_MEASURE_COMMAND), *command],
        env={**child_environment(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        raise PermanentError("E-BENCH", f"{command[0]} could not be started: {_end_of(done.stderr)}")
    found = json.loads(done.stdout)
    if found.pop("exit_code"):
        raise PermanentError("E-BENCH", f"{' '.join(command)} failed: {_end_of(done.stderr)}")
    return Cost(**found)


def output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return what the command printed; raises PermanentError with the end of its errors if it failed."""
    done = subprocess.run(
        command,
        env={**child_environment(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PermanentError("E-BENCH", f"{' '.join(command)} failed: {_end_of(done.stderr)}")
    return done.stdout


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[int]:
    """Give the port at which a server module of ours listens; it is gone when the body ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=child_environment(),
        stdin=subprocess.PIPE,  # Its end is the server's.
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("ready "):
            raise PermanentError("E-BENCH", f"{module} ended before it was ready")
        yield int(line.split()[1])
    finally:
        process.communicate()


@contextmanager
def prefect(log: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """Give the port of a Prefect server once it answers; it is gone when the body ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**child_environment(), **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        give_up = time.monotonic() + _PREFECT_READY_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise PermanentError("E-BENCH", f"Prefect's server is not ready: {_end_of(log.read_text())}")
            time.sleep(_POLL_S)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def child_environment() -> dict[str, str]:
    """Return the environment of children: no AWS account and no Prefect of the user's, and this package.

    Modules are compiled once, as in any installation: to compile them at each start would cost more than to run.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
    return kept | _AWS | {"PYTHONPATH": path}


def _end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-_TOLD_LINES:])
