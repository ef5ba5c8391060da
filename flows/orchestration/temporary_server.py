"""The temporary Prefect server of a run that names none: one for the run and its workers, ended with it.

Prefect would start one in each process that asks it for anything, wait 20 seconds for it, and leave it behind where the
process is killed. It would answer every user of the machine too, though its database is that of this user, with the
secrets in its blocks. So this one asks for a password that is made for it, which only processes of the run know.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import IO

import httpx
from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_API_AUTH_STRING,
    get_current_settings,
    temporary_settings,
)

from flows.terminal import echo
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import PlanError, TransientError
from stores.masking import conceal, url_secrets

_READY_WITHIN_S = 120
"""How long a server has to answer, unless Prefect's setting says it: it takes 10 to 20 s on an idle machine."""
_ATTEMPTS = 2
_POLL_EVERY_S = 0.2
_ANSWER_WITHIN_S = 5.0
_END_WITHIN_S = 5.0
_DRAIN_WITHIN_S = 10.0
_STOPPED_END_WITHIN_S = 0.5
_STOPPED_DRAIN_WITHIN_S = 0.5
_SETTING = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


class _NotReadyError(Exception):
    """The server does not answer; its text says why."""


@contextmanager
def temporary_server(stop: Stop = NEVER) -> Iterator[None]:
    """Let Prefect have a server while the body lasts: the one that PREFECT_API_URL names, or one that is started here.

    One that is started is that of all processes of the run, and ends with the body, or with this process however it
    ends. Raises TransientError E-PREFECT-SERVER if it does not answer in time, twice, TransientError E-STOPPED once the
    run is to stop before it answers, PlanError where Prefect's settings allow none.
    """
    if PREFECT_API_URL.value():
        yield
        return
    if not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        raise PlanError(
            "E-PREFECT-SERVER",
            "no Prefect server is named, and PREFECT_SERVER_EPHEMERAL_ENABLED forbids a temporary one; set"
            " PREFECT_API_URL to the server's address, such as http://127.0.0.1:4200/api",
        )
    server = _started(stop)
    try:
        access = {PREFECT_API_URL: server.api, PREFECT_API_AUTH_STRING: server.login}
        with _in_environment({setting.name: value for setting, value in access.items()}), temporary_settings(access):
            try:
                yield
            finally:
                # What this process still has to send would start another server later.
                for sender in (APILogWorker, EventsWorker):
                    sender.drain_all(timeout=_STOPPED_DRAIN_WITHIN_S if stop.is_set() else _DRAIN_WITHIN_S)
    finally:
        server.end(_STOPPED_END_WITHIN_S if stop.is_set() else _END_WITHIN_S)


@contextmanager
def _in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Let threads and processes that begin in the body have these settings, which they read from the environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    refresh_global_settings_context()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        refresh_global_settings_context()


def _started(stop: Stop) -> _Server:
    """Return a server that answers."""
    ephemeral = get_current_settings().server.ephemeral
    chosen = "startup_timeout_seconds" in ephemeral.model_fields_set
    within_s = ephemeral.startup_timeout_seconds if chosen else _READY_WITHIN_S
    why = ""
    for _ in range(_ATTEMPTS):
        server = _Server.start()
        echo(f"starting a temporary Prefect server on {server.api}, as PREFECT_API_URL names none", err=True)
        try:
            server.wait_until_ready(within_s, stop)
        except _NotReadyError as error:
            why = str(error)
        else:
            return server
        finally:
            if not server.ready:
                server.end()
    raise TransientError(
        "E-PREFECT-SERVER",
        f"Prefect's temporary server was started {_ATTEMPTS} times and {why}; set {_SETTING} to more seconds, or"
        " PREFECT_API_URL to the address of a server that runs (prefect server start). The same command resumes",
    )


@dataclass(slots=True)
class _Server:
    """A Prefect server in a process of its own, which ends when its standard input does."""

    process: subprocess.Popen[bytes]
    api: str
    log: IO[bytes]
    login: str = field(repr=False)
    """User and password, without which the server answers nobody."""
    ready: bool = False

    @classmethod
    def start(cls) -> _Server:
        """Return a server that is starting."""
        login = f"offramp:{token_urlsafe()}"
        conceal(url_secrets(f"http://{login}@127.0.0.1"))
        log = tempfile.TemporaryFile()  # noqa: SIM115 - it is open for as long as the server
        with socket.socket() as listening:
            # Only the server listens, and only once it can answer: before that a connection is refused.
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listening.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(listening.fileno(),),
                # A session of its own: Ctrl-C in a terminal is for the run, which still has to say how it ended.
                start_new_session=True,
                env={
                    **os.environ,
                    "PREFECT_SERVER_UI_ENABLED": "false",
                    **get_current_settings().to_environment_variables(exclude_unset=True),
                    PREFECT_SERVER_API_AUTH_STRING.name: login,
                },
            )
        return cls(process, f"http://127.0.0.1:{port}/api", log, login)

    def wait_until_ready(self, within_s: float, stop: Stop) -> None:
        """Return once the server answers; raises _NotReadyError if it ends, or does not answer in so many seconds."""
        give_up = time.monotonic() + within_s
        # One client: making one reads the machine's authorities, which would take a tenth of the processor.
        with httpx.Client(timeout=_ANSWER_WITHIN_S, trust_env=False) as client:
            while time.monotonic() < give_up:
                raise_if_stopped(stop, "stopped by a signal before anything was done; the same command resumes")
                if (code := self.process.poll()) is not None:
                    raise _NotReadyError(f"ended with code {code}{self._last_words()}")
                with suppress(httpx.TransportError):
                    if client.get(f"{self.api}/health").status_code == httpx.codes.OK:
                        self.ready = True
                        return
                stop.wait(_POLL_EVERY_S)
        raise _NotReadyError(f"did not answer within {within_s:g} s")

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        return f" ({lines[-1].strip()})" if lines else ""

    def end(self, within_s: float = _STOPPED_END_WITHIN_S) -> None:
        """The server is gone; it is killed if it does not end in so many seconds."""
        self.process.terminate()
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.log.close()


# --- in the process of the server ---------------------------------------------------------------------------------


def _serve(listening: socket.socket) -> None:
    """Serve on the socket until standard input ends, or the process is asked to end."""
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run([listening])


def _end_with_parent() -> None:
    """End this process once its standard input is closed, which the parent's end does."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serve(socket.socket(fileno=int(sys.argv[1])))
