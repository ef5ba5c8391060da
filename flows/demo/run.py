"""The demo: a marketplace in a local MongoDB, moved to three local stores by the same run as any other plan."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from flows.demo import servers
from flows.demo.live_writer import writing
from flows.demo.many_machines import WORKERS, ManyMachines, backfill_by_command, many_machines, refuse_missing
from flows.demo.seed import counts, marketplace
from flows.plan.load import load
from flows.plan.model import Plan
from flows.quantities import counted, seconds
from flows.replication.sync import sync
from flows.reporting.files import write
from flows.reporting.model import Report
from flows.reporting.text import as_lines
from flows.run.backfill import backfill
from flows.run.check import check_plan
from flows.run.console import display, sync_display
from flows.run.verify import verify
from flows.run.workers import Run, Threads
from flows.terminal import echo, stdout_width
from stores.contract.stop import NEVER, PolledStop, Stop
from stores.errors import PermanentError, PlanError

_MARKER = ".offramp-demo"
_DATA = "data-"
_SEED_BATCH = 2000

# Stand in for whatever this machine has: the demo must not read, and cannot use, anybody's AWS account.
_AWS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_AWS_UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE")


def run(
    folder: Path,
    documents: int,
    *,
    live_s: float | None = None,
    dask: bool = False,
    quiet: bool = False,
    stop: Stop = NEVER,
) -> Report:
    """Run the demo in the folder and return its report, which also lies there; all servers have stopped by then.

    With `live_s` a writer changes the source during the backfill and for so many seconds of sync after it. With `dask`
    the state is on PostgreSQL, and two workers of a Dask cluster copy and compare.
    Raises PlanError, before anything is written, for a folder that holds anything but an earlier demo.
    """
    steps = _Steps(quiet)
    if dask:
        refuse_missing()
    with claim_folder(folder), ExitStack() as running_servers:
        data = _fresh(folder)
        environment = {
            "MONGODB_URI": running_servers.enter_context(servers.mongodb(data / "mongodb")),
            "DYNAMODB_ENDPOINT": running_servers.enter_context(servers.dynamodb(data / "dynamodb")),
            "REDIS_URL": running_servers.enter_context(servers.redis(data / "redis")),
            "ELASTICSEARCH_URL": running_servers.enter_context(servers.elasticsearch(data / "elasticsearch")),
            "OFFRAMP_STATE": str(data.resolve() / "state.db"),
        }
        steps.done("started 4 servers: SecantusDB (MongoDB), ministack (DynamoDB), Valkey (Redis), noida-db", data)
        running_servers.enter_context(local_environment())
        plan_path = configuration() / "plan.yaml"
        machines: ManyMachines | None = None
        if dask:
            machines = running_servers.enter_context(
                many_machines(folder.resolve(), data, configuration(), environment)
            )
            plan_path, environment = machines.plan, {**os.environ, **machines.environment}
            steps.done(f"started PostgreSQL, a Dask scheduler and {WORKERS} workers", machines.address)
        plan = load(plan_path, environment)
        seeded = _seed(plan, documents, stop)
        steps.done(
            f"seeded {counted(seeded, 'document')} in {counted(len(counts(documents)), 'collection')}",
            "database marketplace",
        )
        if stop.is_set():
            report = _nothing(plan)
        elif machines is not None:
            report = _moved_by_dask(plan, machines, folder / "report", steps, quiet, stop)
        elif live_s is None:
            report = _moved(plan, folder / "report", steps, quiet, stop)
        else:
            report = _moved_live(plan, live_s, steps, quiet, stop)
    written = write(report, folder / "report")
    if not quiet:
        _say("", *as_lines(report, stdout_width()), "", f"report: {', '.join(map(str, written))}", "")
        _say(*_next(), breaks=False)
    return report


def configuration() -> Path:
    """Return the folder of the demo's plan and mapper: in an installed package, or beside it in a checkout."""
    installed = Path(__file__).parents[1] / "config" / "demo"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "config" / "demo"


def _moved(plan: Plan, folder: Path, steps: _Steps, quiet: bool, stop: Stop) -> Report:
    """Check, copy and verify as the commands of these names do; return the report of the last that ran."""
    routes = plan.chosen(())
    _check(plan, folder, steps, quiet, stop)
    with display(quiet) as observer:
        work = Run(plan, routes, Threads(plan, observer, stop), stop, observer)
        report = backfill(work, "none")
        copied = sum(row.read for row in report.routes)
        records = sum(row.records for row in report.routes)
        steps.done(f"read {counted(copied, 'document')}, wrote {counted(records, 'record')}", "offramp backfill")
        if report.verdict in ("stopped", "failed"):
            return report
        report = verify(work, "full")
    held = sum(row.held or 0 for row in report.routes)
    steps.done(f"compared every document with {counted(held, 'record')} held, and back", "offramp verify")
    return report


def _moved_by_dask(plan: Plan, machines: ManyMachines, folder: Path, steps: _Steps, quiet: bool, stop: Stop) -> Report:
    """Check, then copy and verify by the command, as any run on a cluster; return its report."""
    _check(plan, folder, steps, quiet, stop)
    report = backfill_by_command(machines, folder, quiet, stop)
    copied = sum(row.read for row in report.routes)
    held = sum(row.held or 0 for row in report.routes)
    what = f"read {counted(copied, 'document')} on {WORKERS} workers, and compared them with {counted(held, 'record')}"
    steps.done(f"{what} held, and back", "offramp backfill")
    return report


def _check(plan: Plan, folder: Path, steps: _Steps, quiet: bool, stop: Stop) -> None:
    """The plan has no fault; raises its error otherwise."""
    routes = plan.chosen(())
    with display(quiet) as observer:
        checked = check_plan(plan, routes, folder, stop, observer.stepped)
    if checked.error is not None:
        raise checked.error
    stores = sorted({route.target for route in checked.routes})
    what = f"checked {counted(len(checked.routes), 'route')} to {counted(len(stores), 'store')}: no fault"
    steps.done(what, ", ".join(stores))


def _moved_live(plan: Plan, live_s: float, steps: _Steps, quiet: bool, stop: Stop) -> Report:
    """Copy and sync while the source is written to, then catch up and verify; return the report of the last step."""
    routes = plan.chosen(())
    with MongoClient[dict[str, object]](plan.source.uri, serverSelectionTimeoutMS=10_000) as client:
        # Only the document as it was tells where the user's own mapper put its records (R125).
        for name in {route.collection for route in routes if route.function is not None}:
            images = {"enabled": True}
            client[plan.source.database].command({"collMod": name, "changeStreamPreAndPostImages": images})
    with writing(plan.source.uri, plan.source.database):
        with display(quiet) as observer:
            report = backfill(Run(plan, routes, Threads(plan, observer, stop), stop, observer), "none")
        steps.done(f"copied {counted(sum(row.read for row in report.routes), 'document')}", "offramp backfill")
        if report.verdict in ("stopped", "failed"):
            return report
        until = time.monotonic() + live_s
        with sync_display(quiet) as watching:
            enough = PolledStop(lambda: time.monotonic() > until, stop, every_s=0.1)
            report = sync(plan, routes, follow=True, stop=enough, watching=watching)
        changes = _changes(report)
        synced = counted(changes, "change") if changes else "none of the changes"
        steps.done(f"synced {synced} while the writer ran: {_behind(report)}", "offramp sync --follow")
    report = sync(plan, routes, stop=stop)
    steps.done(f"caught up after the writer stopped: {_behind(report)}", "offramp sync")
    if report.verdict in ("stopped", "failed"):
        return report
    with display(quiet) as observer:
        report = verify(Run(plan, routes, Threads(plan, observer, stop), stop, observer), "full")
    held = sum(row.held or 0 for row in report.routes)
    steps.done(f"compared every document with {counted(held, 'record')} held, and back", "offramp verify")
    return report


def _changes(report: Report) -> int:
    return sum(row.sync.events for row in report.routes if row.sync is not None)


def _behind(report: Report) -> str:
    lag_s = max((row.sync.lag_s for row in report.routes if row.sync is not None), default=0.0)
    return f"{seconds(lag_s)} behind at most"


def _nothing(plan: Plan) -> Report:
    """Return the report of a run that was stopped before it began: it has no routes, so it is not clean."""
    now = dt.datetime.now(dt.UTC)
    return Report(plan=plan.name, fingerprint="", started=now, finished=now, routes=[])


def _seed(plan: Plan, documents: int, stop: Stop) -> int:
    """Insert the marketplace into the source; return the number of documents, fewer where `stop` ended it."""
    seeded = 0
    try:
        with MongoClient[dict[str, object]](plan.source.uri, serverSelectionTimeoutMS=10_000) as client:
            database = client.get_database(plan.source.database, codec_options=CodecOptions(tz_aware=True))
            for name, made in marketplace(documents, dt.datetime.now(dt.UTC)).items():
                while (batch := list(islice(made, _SEED_BATCH))) and not stop.is_set():
                    seeded += len(database[name].insert_many(batch, ordered=False).inserted_ids)
    except PyMongoError as error:
        raise PermanentError(
            "E-DEMO-SEED", f"the demo's source did not accept its documents: {type(error).__name__}; run the demo again"
        ) from error
    return seeded


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """The folder belongs to this demo until the body ends; it is created if it is absent.

    Raises PlanError for a folder that holds other files, cannot be used, or in which another demo runs.
    """
    marker = folder / _MARKER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.is_file() and any(folder.iterdir()):
            raise PlanError(
                "E-DEMO-DIR",
                f"{str(folder)!r} holds other files than an earlier demo's; name another folder with --dir",
            )
        claim = marker.open("a+")
    except OSError as error:
        raise PlanError(
            "E-DEMO-DIR", f"{str(folder)!r} cannot be used: {error.strerror}; name another folder with --dir"
        ) from error
    with claim:
        try:
            # The lock belongs to this process alone, so it ends with the process, however that ends.
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PlanError(
                "E-DEMO-DIR",
                f"another demo runs in {str(folder)!r}; wait until it ends, or name another folder with --dir",
            ) from error
        if not marker.stat().st_size:
            claim.write("`offramp demo` made this folder, and replaces what is in it.\n")
            claim.flush()
        yield


def _fresh(folder: Path) -> Path:
    """Return a new folder for data; remove the data of earlier demos, except what cannot be removed."""
    for old in folder.glob(f"{_DATA}*"):
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_DATA, dir=folder))


@contextmanager
def local_environment() -> Iterator[None]:
    """This process has dummy AWS credentials, and no proxy to its own machine, until the body ends.

    The variables have their earlier values again afterwards.
    """
    no_proxy = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1")))
    wanted: Mapping[str, str | None] = {**_AWS, **dict.fromkeys(_AWS_UNSET), "no_proxy": no_proxy}
    before = {name: os.environ.get(name) for name in wanted}
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Steps:
    """The numbered lines of the demo, each with the seconds since the line before."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._number = 0
        self._since = time.monotonic()

    def done(self, what: str, where: object) -> None:
        """Print the line of a step that is done."""
        now = time.monotonic()
        self._number += 1
        if not self._quiet:
            _say(f"{self._number}  {what} ({where}) {seconds(now - self._since)}")
        self._since = now


def _next() -> tuple[str, ...]:
    plan = configuration() / "plan.yaml"
    return (
        "try next, with your own MongoDB and stores:",
        f"  cp {plan} {plan.with_name('marketplace_mappers.py')} .",
        "  edit plan.yaml: addresses, database, routes; its comments say what each part does",
        "  offramp check plan.yaml       finds every fault, writes nothing",
        "  offramp backfill plan.yaml    copies, verifies, reports; the same command resumes",
    )


def _say(*lines: str, breaks: bool = True) -> None:
    with suppress(BrokenPipeError):  # The reader may have closed the pipe; the run goes on.
        echo(*lines, flush=True, breaks=breaks)
