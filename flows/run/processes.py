"""Workers that are processes of this machine, each with clients and a state of its own.

A worker receives its jobs through a pipe, never by its arguments, and sends its progress the same way. A worker that is
killed is replaced, and its job begins again at its last checkpoint. A worker whose parent is gone ends at once.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

from flows.connect.progress import SILENT, Observer
from flows.connect.stores import open_source, open_state
from flows.plan.load import load
from flows.plan.model import Plan, digest
from flows.run.attempts import DEATHS, worker_died
from flows.run.jobs import Job
from flows.run.logs import to_stderr
from flows.run.workers import More, Outcome, Threads, Workers, answer, hand_out
from flows.terminal import guarded, stdout_on_stderr
from stores.contract.stop import NEVER, PROCESS_STOP, Stop, raise_if_stopped
from stores.errors import OfframpError, PermanentError

_log = logging.getLogger(__name__)

_STOP_EVERY_S = 0.2
_END_S = 10.0

R = TypeVar("R")


@contextmanager
def local_workers(plan: Plan, observer: Observer = SILENT, stop: Stop = NEVER) -> Iterator[Workers]:
    """Give the workers that the plan names, threads or processes of this machine, for the length of the body."""
    if plan.run.runner != "processes":
        yield Threads(plan, observer, stop)
        return
    workers = Processes(plan, observer, stop)
    try:
        yield workers
    finally:
        workers.close()


@dataclass(frozen=True)
class Processes:
    """Workers that are processes, started when a job first needs one and kept until `close`."""

    plan: Plan
    observer: Observer = SILENT
    stop: Stop = NEVER
    _idle: list[_Worker] = field(default_factory=list)
    _all: list[_Worker] = field(default_factory=list)

    def run(self, jobs: Sequence[Job[R]], more: More[R] | None = None, /) -> Sequence[Outcome[Job[R], R]]:
        """Run each job in a worker process; see `Workers.run`."""

        def start(job: Job[R]) -> Future[R | OfframpError]:
            return pool.submit(answer, lambda: self._attempt(job))

        with ThreadPoolExecutor(self.plan.run.workers, thread_name_prefix="worker") as pool:
            return hand_out(jobs, self.plan.run.workers, start, more, stop=self.stop)

    def close(self) -> None:
        """No worker process is left."""
        for worker in self._all:
            worker.close()

    @property
    def pids(self) -> list[int]:
        """The processes that are up."""
        return [worker.pid for worker in self._all]

    def _attempt(self, job: Job[R]) -> R:
        """Return what a worker made of the job; a list's own operations are what keeps threads apart here."""
        died = ""
        for _ in range(DEATHS):
            if died and self.stop.is_set():
                break
            raise_if_stopped(self.stop, "stopped by a signal before it was begun; the same command resumes")
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker.start(self.plan)
                self._all.append(worker)
            try:
                found: R | OfframpError = worker.run(job, self.observer, self.stop)
            except _WorkerDied as error:
                self._all.remove(worker)
                died = str(error)
                _log.warning(
                    "route %s: a worker process %s; its job begins again at its last checkpoint", job.route, died
                )
            except BaseException:
                self._all.remove(worker)
                worker.close()
                raise
            else:
                self._idle.append(worker)
                if isinstance(found, OfframpError):
                    raise found
                return found
        raise worker_died(job.route, died)


class _WorkerDied(Exception):
    """A worker process ended before its job."""


@dataclass(frozen=True, slots=True)
class _ObserverCall:
    """Progress, as a call of the observer."""

    call: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """The worker process has started: from now on it obeys a stop."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """What became of a job: its result, or an OfframpError."""

    outcome: Any


_STOP = "stop"
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Worker:
    """One process and the pipe to it; used by one thread at a time."""

    process: SpawnProcess
    channel: Connection
    ready: threading.Event = field(default_factory=threading.Event)
    """Whether it has started."""

    @classmethod
    def start(cls, plan: Plan) -> _Worker:
        """Return a worker that is starting."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        routes = digest(route.fingerprint() for route in plan.routes.values())
        verbose = logging.getLogger("flows").isEnabledFor(logging.INFO)
        process = context.Process(target=_serve, args=(theirs, plan.path.absolute(), routes, verbose), daemon=True)
        with _starting:
            resource_tracker.ensure_running()  # It unblocks signals when it starts.
            # Ctrl-C reaches every process of a terminal: what stops a worker is its parent, in order.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # So that ours ends when the process does.
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid or 0

    def run(self, job: Job[Any], observer: Observer, stop: Stop) -> Any:
        """Return the job's result or error; raises _WorkerDied if the process ends before it.

        Raises TransientError E-STOPPED if the stop is set before the process has started, which takes it seconds.
        """
        stop_sent = False
        try:
            self.channel.send(job)
            while True:
                if not stop_sent and stop.is_set():
                    if not self.ready.is_set():
                        self.process.kill()
                        raise_if_stopped(stop, "stopped by a signal before it was begun; the same command resumes")
                    stop_sent = True
                    self.channel.send(_STOP)
                if self.channel.poll(_STOP_EVERY_S):
                    match self.channel.recv():
                        case _Ready():
                            self.ready.set()
                        case _ObserverCall(call, arguments):
                            getattr(observer, call)(*arguments)
                        case _Ended(outcome):
                            return outcome
        except (EOFError, OSError) as error:
            self.close()
            code = self.process.exitcode
            how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
            raise _WorkerDied(how) from error

    def close(self) -> None:
        """The process is gone."""
        self.channel.close()  # Which ends it, whatever it does.
        self.process.join(_END_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


# --- in the worker process ----------------------------------------------------------------------------------------


def _serve(channel: Connection, path: Path, routes: str, verbose: bool) -> None:
    """Do the jobs that the channel brings, one after another, until it ends."""
    with guarded(), stdout_on_stderr():
        _do_jobs(channel, path, routes, verbose)


def _do_jobs(channel: Connection, path: Path, routes: str, verbose: bool) -> NoReturn:
    if verbose:
        to_stderr()
    jobs: SimpleQueue[Job[Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, jobs), name="parent", daemon=True).start()
    observer = _RemoteObserver(channel)
    plan: Plan | None = None
    observer.send(_Ready())

    def done() -> Any:
        nonlocal plan
        raise_if_stopped(PROCESS_STOP, "stopped by a signal before it was begun; the same command resumes")
        if plan is None:
            plan = _refuse_changed(load(path), routes)
            # They stay open from job to job.
            clients.enter_context(open_state(plan))
            clients.enter_context(open_source(plan))
        return job.run(plan, observer, PROCESS_STOP)

    with ExitStack() as clients:
        while True:
            job = jobs.get()
            observer.send(_Ended(answer(done)))


def _refuse_changed(plan: Plan, routes: str) -> Plan:
    """Return the plan, which was read again, if its routes are those the run began with."""
    if digest(route.fingerprint() for route in plan.routes.values()) != routes:
        raise PermanentError(
            "E-CONFIG-CHANGED",
            f"{plan.path} was changed while its run was at work; put back what changed and run the same command again,"
            " or start over with backfill --restart",
        )
    return plan


@dataclass(frozen=True, slots=True)
class _RemoteObserver:
    """An observer that sends each of its calls to the parent."""

    channel: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def began(self, route: str, stage: str, documents: int) -> None:
        self.send(_ObserverCall("began", (route, stage, documents)))

    def advanced(self, route: str, stage: str, documents: int) -> None:
        self.send(_ObserverCall("advanced", (route, stage, documents)))

    def ended(self, route: str, stage: str, complete: bool) -> None:
        self.send(_ObserverCall("ended", (route, stage, complete)))

    def send(self, message: _Ready | _ObserverCall | _Ended) -> None:
        with self.lock:
            self.channel.send(message)


def _listen(channel: Connection, jobs: SimpleQueue[Job[Any]]) -> None:
    """Pass jobs on, and set the stop of this process when asked; end the process when the channel is closed.

    What is in flight then is lost, as if the process had been killed: the job begins again at its last checkpoint.
    """
    while True:
        try:
            message = channel.recv()
        except (EOFError, OSError):
            os._exit(0)
        if message == _STOP:
            PROCESS_STOP.set()
        else:
            jobs.put(message)
