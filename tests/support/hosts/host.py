"""A host: namespaces of Linux that end with the process which started them, however it ends."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import psutil
from chaos.commands import Running
from waiting import until

HOME = Path("/srv")
"""Where a host finds its folder: every host has another there, and none sees those of others."""
NOBODY = 65_534
_NAMESPACES = ("--net", "--uts", "--ipc", "--pid", "--mount")
# The first process of the host: the kernel ends all others with it, and it reaps those whose parents have ended.
_BEGIN = """
set -e
echo "$1" > /proc/sys/kernel/hostname
mount --bind "$2" /etc/hosts
mount --bind "$3" /srv
mount -t tmpfs none "$4"
echo begun
while sleep 3600; do :; done
"""
_CLONE_NEWNET = 0x40000000


@dataclass
class Host:
    """A host that runs."""

    name: str
    address: str
    folder: Path
    """What it finds at HOME."""
    ahead_s: int
    """How far its wall clock is ahead of this process's; it is behind where that is negative."""
    first: subprocess.Popen[bytes]
    """The process that waits for the first process of the host."""
    pid: int
    """The first process of the host, by its number here."""
    _commands: list[Running] = field(default_factory=list)

    @classmethod
    def begin(cls, name: str, address: str, folder: Path, *, names: Path, hidden: Path, ahead_s: int = 0) -> Host:
        """Return a host with nothing but the loopback in its network; `names` is its /etc/hosts, `hidden` is empty."""
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        own = ("unshare", *_NAMESPACES, "--fork", "--kill-child=KILL", "--mount-proc")
        begin = ("sh", "-c", _BEGIN, name, name, str(names), str(folder), str(hidden))
        first = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *own, *begin],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(folder / "host.err").open("wb"),
            start_new_session=True,
        )
        assert first.stdout is not None
        begun = first.stdout.readline()
        first.stdout.close()
        assert begun == b"begun\n", f"host {name} did not begin: {(folder / 'host.err').read_text()}"
        [child] = psutil.Process(first.pid).children()
        host = cls(name, address, folder, ahead_s, first, child.pid)
        host.inside("ip", "link", "set", "lo", "up")
        return host

    def inside(self, *command: str) -> str:
        """Return what a command prints that runs to its end in the host's network, and see it succeed."""
        entering = ("nsenter", f"--target={self.pid}", "--net")
        done = subprocess.run([*entering, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stderr}"
        return done.stdout

    def start(self, *command: str, log: str, environment: Mapping[str, str] | None = None, user: int = 0) -> Running:
        """Start a command in the host's folder, by the host's clock; its output goes to ``<log>.out`` and ``.err``."""
        entering = ("nsenter", f"--target={self.pid}", *_NAMESPACES)
        becoming = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()
        out, err = self.folder / f"{log}.out", self.folder / f"{log}.err"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [*entering, *becoming, "sh", "-c", 'cd /srv; exec "$@"', "sh", *command],
                env=self._environment(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
        running = Running(command, process, out, err)
        self._commands.append(running)
        return running

    def processes(self) -> Sequence[psutil.Process]:
        """Return all processes of the host but the first, which is none of a command."""
        own, found = _namespace(self.pid), []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if process.pid != self.pid and process.ppid() != self.pid and _namespace(process.pid) == own:
                    found.append(process)
        return found

    def pause(self) -> None:
        """No process of the host runs any more, as in a virtual machine that is paused."""
        until(lambda: not self._sent(signal.SIGSTOP, unless=psutil.STATUS_STOPPED), f"pause of {self.name}")

    def wake(self) -> None:
        """All processes of the host go on."""
        self._sent(signal.SIGCONT)
        for running in self._commands:  # It stops with the command that it has started in the host.
            running.send(signal.SIGCONT)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and threads that it starts, connect from the host's network during the body."""
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/proc/{self.pid}/ns/net").open() as inside:
            _set_network(inside.fileno())
            try:
                yield
            finally:
                _set_network(before.fileno())

    def end(self) -> None:
        """All processes of the host are killed at once, and the host is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.first.wait()
        for running in self._commands:
            running.process.wait()

    def _sent(self, number: int, unless: str = "") -> Sequence[psutil.Process]:
        """Send the signal to all processes of the host that are not in this state; return them."""
        sent = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() not in (unless, psutil.STATUS_ZOMBIE):
                    process.send_signal(number)
                    sent.append(process)
        return sent

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        clock = {"LD_PRELOAD": str(_wall_clock()), "CLOCK_AHEAD_S": str(self.ahead_s)} if self.ahead_s else {}
        home = str(HOME)
        return {**os.environ, "HOME": home, "TMPDIR": f"{home}/tmp", **clock, **extra}


@cache
def _wall_clock() -> Path:
    """Return the library that sets the wall clock of a process."""
    library = Path(mkdtemp(prefix="wall-clock-")) / "wall_clock.so"
    atexit.register(rmtree, library.parent, ignore_errors=True)
    source = Path(__file__).with_name("wall_clock.cpp")
    subprocess.run(["c++", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
