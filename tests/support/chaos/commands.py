"""The program as a user runs it: processes, which get signals while they work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from chaos.judge import Outcome

POLL_S = 0.05


@dataclass
class Running:
    """A command at work."""

    command: Sequence[str]
    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    began: float = field(default_factory=time.monotonic)
    signal: int | None = None
    signalled: float | None = None

    def send(self, number: int, *, group: bool = False) -> None:
        """Send the signal, with `group` to the processes that it started too; what has ended gets none."""
        with contextlib.suppress(ProcessLookupError):
            if group and self.process.poll() is None:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
            if number not in (signal.SIGSTOP, signal.SIGCONT) and self.process.returncode is None:
                self.signal, self.signalled = number, time.monotonic()

    def ended(self, within_s: float) -> bool:
        """Return whether it ends in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
            return True
        return False

    def left_behind(self, within_s: float) -> Sequence[int]:
        """Return the processes that it started and that live on after it, once so much time has passed."""
        give_up = time.monotonic() + within_s
        while (living := _living(self.process.pid)) and time.monotonic() < give_up:
            time.sleep(POLL_S)
        return living

    def kill(self) -> None:
        """End it by force, with the processes that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def outcome(self) -> Outcome:
        """Return how it ended."""
        now = time.monotonic()
        return Outcome(
            self.command,
            self.process.returncode,
            self.out.read_text("utf-8", "replace"),
            self.err.read_text("utf-8", "replace"),
            now - self.began,
            self.signal,
            None if self.signalled is None else now - self.signalled,
        )


def _living(group: int) -> Sequence[int]:
    """Return the processes of the group that are no zombies."""
    living: list[int] = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process.pid)
    return living


@dataclass
class Program:
    """The command line, run in a folder with an environment of the iteration's own."""

    folder: Path
    environment: Mapping[str, str]
    code: Path | None = None
    """Where another version of the code is; the installed one by default."""
    _number: int = 0

    def start(self, *command: str) -> Running:
        """Start a command."""
        self._number += 1
        name = f"{self._number:02}-{command[0]}"
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        environment = {**os.environ, **self.environment}
        program = "flows.cli.main"
        if self.code is not None:
            # Until 542cb7c the command line was one module.
            program = "flows.cli" if (self.code / "flows" / "cli.py").is_file() else program
            environment |= {"PYTHONPATH": str(self.code), "OFFRAMP_COMPILED": "0"}
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [sys.executable, "-m", program, *command],
                cwd=self.code or self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
        return Running(command, process, out, err)

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[Running]:
        """Yield a started command, which has ended after the block."""
        started = self.start(*command)
        try:
            yield started
        finally:
            started.kill()
