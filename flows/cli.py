"""The command line. Everything heavy is imported by the command that needs it: `--help` answers at once."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from flows.collecting import seldom
from flows.report_command import report as report_command
from stores.errors import OfframpError, PlanError, origin
from stores.retrying import STOPPING

if TYPE_CHECKING:
    from flows.books import Level, Report
    from flows.plan import Plan

_PLAN = click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
_ROUTES = click.option("--route", "routes", metavar="ROUTE", multiple=True, help="Only this route; may be repeated.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")
_REPORT = click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where report.json, report.md and report.html go. [default: .offramp/reports/<plan> beside the plan]",
)
_VALUES = click.option(
    "--show-values", is_flag=True, help="Show values in samples of differences; they may be personal data."
)
_PREFECT = click.option("--prefect", is_flag=True, help="Run as a Prefect flow (also where PREFECT_API_URL is set).")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mongo-offramp", prog_name="offramp")
@click.option("-v", "--verbose", is_flag=True, help="Log each step to standard error.")
def offramp(verbose: bool) -> None:
    """Retire a MongoDB: move each collection to the store that suits it, and prove what arrived.

    Exit codes: 0 clean; 1 finished with rejects or mismatches; 2 the plan or the usage is wrong, nothing was written;
    3 a store failed or another run is at work, the same command resumes; 130 and 143 stopped by a signal at a
    checkpoint, the same command resumes.
    """
    if verbose:
        from flows.logs import to_stderr

        to_stderr()


@offramp.command()
@_PLAN
@_ROUTES
@_JSON
def check(plan_path: Path, routes: tuple[str, ...], as_json: bool) -> None:
    """Find every fault of PLAN, of its source and of its targets, and write nothing."""
    from dataclasses import asdict

    from flows import report, running
    from flows.plan import load

    plan = load(plan_path)
    found = running.check(plan, plan.chosen(routes))
    if as_json:
        _print_json({"plan": plan.name, "routes": [asdict(one) for one in found]})
        return
    print(
        report.table(
            [
                {
                    "route": one.route,
                    "collection": one.collection,
                    "target": one.target,
                    "mapper": one.mapper,
                    "documents": f"~{one.documents}",
                }
                for one in found
            ],
            left=("route", "collection", "target", "mapper"),
        )
    )
    for one in found:
        for note in one.notes:
            print(f"{one.route}: {note}")
    print(f"\nno fault found; next: offramp backfill {plan_path}")


@offramp.command()
@_PLAN
@_ROUTES
@click.option(
    "--verify",
    "level",
    type=click.Choice(("none", "counts", "full")),
    default="full",
    show_default=True,
    help="How to compare the target afterwards.",
)
@click.option("--restart", is_flag=True, help="Forget the checkpoints of these routes and copy everything again.")
@_VALUES
@_REPORT
@_JSON
@_PREFECT
def backfill(
    plan_path: Path,
    routes: tuple[str, ...],
    level: Level,
    restart: bool,
    show_values: bool,
    folder: Path | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Copy the collections of PLAN, from the last checkpoint on, then verify and report."""
    plan, folder = _opened(plan_path, folder)
    if prefect or _needs_prefect(plan):
        from flows import backfill as flow

        report = flow.run(plan_path, routes, level, restart=restart, folder=folder, show_values=show_values)
    else:
        report = _run(plan, routes, as_json, show_values, lambda run: run.backfill(level, restart=restart))
    _conclude(report, folder, as_json)


@offramp.command()
@_PLAN
@_ROUTES
@click.option(
    "--level",
    type=click.Choice(("counts", "full")),
    default="full",
    show_default=True,
    help="counts: only how many; full: every document, both directions.",
)
@_VALUES
@_REPORT
@_JSON
@_PREFECT
def verify(
    plan_path: Path,
    routes: tuple[str, ...],
    level: Level,
    show_values: bool,
    folder: Path | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Compare what the targets hold with what the source of PLAN says now, and report; no target is written."""
    plan, folder = _opened(plan_path, folder)
    if prefect or _needs_prefect(plan):
        from flows import verification as flow

        report = flow.run(plan_path, routes, level, folder=folder, show_values=show_values)
    else:
        report = _run(plan, routes, as_json, show_values, lambda run: run.verification(level))
    _conclude(report, folder, as_json)


@offramp.command()
@_PLAN
@_JSON
def status(plan_path: Path, as_json: bool) -> None:
    """Show how far each route of PLAN has come, from its state alone: no store is asked."""
    from flows import report
    from flows.plan import load
    from flows.standing import status as statuses

    rows = statuses(load(plan_path))
    if as_json:
        _print_json({"routes": rows})
        return
    shown = ("route", "stage", "partitions", "read", "dropped", "rejected", "records", "verdict", "at_work")
    cells = [{name: "-" if row[name] in (None, "") else str(row[name]) for name in shown} for row in rows]
    print(report.table(cells, left=("route", "stage", "verdict", "at_work")))
    for row in rows:
        for reject in row["rejects"]:
            where = f" {reject['field']}" if reject["field"] else ""
            print(f"{row['route']}: {reject['id']}: {reject['stage']}: {reject['code']}{where}: {reject['reason']}")
        if row["rejected"] > len(row["rejects"]):
            print(f"{row['route']}: and {row['rejected'] - len(row['rejects'])} more rejects")


@offramp.command()
@click.argument("code", metavar="CODE")
@_JSON
def explain(code: str, as_json: bool) -> None:
    """Tell what an error code such as E-DDB-KEYS means, what offramp did, and what to do."""
    import difflib

    from flows.codes import CATALOGUE
    from flows.errors_page import explained
    from mappers.codes import EFFECTS

    name = code.upper()
    if (entry := CATALOGUE.get(name)) is None:
        near = ", ".join(difflib.get_close_matches(name, CATALOGUE, 4)) or "one of docs/errors.md"
        raise click.BadParameter(f"{name} is none of offramp's own codes; did you mean {near}?")
    if as_json:
        effects = {effect: EFFECTS[effect] for effect in entry.effects}
        _print_json({"code": name, "meaning": entry.meaning, "effects": effects, "remedy": entry.remedy})
    else:
        print(explained(name, entry))


@offramp.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("offramp-demo"),
    show_default=True,
    help="Where the servers keep their data and the report goes; must be empty or an earlier demo's.",
)
@click.option(
    "--documents", type=click.IntRange(min=100), default=12_000, show_default=True, help="Documents to seed in all."
)
@_JSON
def demo(folder: Path, documents: int, as_json: bool) -> None:
    """Seed a small marketplace in a local MongoDB, move it to three local stores, verify and report."""
    from flows import demo as demonstration

    with _interruptible() as stopping:
        report = demonstration.run(folder, documents, quiet=as_json, stopping=stopping)
    if as_json:
        _print_json(report.as_json())
    _exit(report)


offramp.add_command(report_command)


def main() -> None:
    """Run the command line; every error has been told in words when this returns."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What a store holds must not stop a report from being printed.
            stream.reconfigure(errors="backslashreplace")
    try:
        with seldom():  # What is imported is no garbage: a tenth of starting was looking for some.
            offramp(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        _fail("E-USAGE", error.format_message(), 2)
    except click.Abort:
        sys.exit(130)
    except OfframpError as error:
        print(f"offramp: {error}", file=sys.stderr)
        _fail(error.code, error.message, 2 if isinstance(error, PlanError) else 3)
    except Exception as error:  # noqa: BLE001 - Python would end with 1, which says "finished with rejects"
        message = f"unexpected {origin(error)}; the same command resumes"
        print(f"offramp: {message}", file=sys.stderr)
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        _fail("E-INTERNAL", message, 3)


def _fail(code: str, message: str, exit_code: int) -> NoReturn:
    if "--json" in sys.argv:
        _print_json({"error": {"code": code, "message": message}})
    sys.exit(exit_code)


def _run(plan: Plan, routes: Sequence[str], quiet: bool, show_values: bool, work: Callable[[Any], Report]) -> Report:
    from flows.processes import local_workers
    from flows.progress import display
    from flows.running import Run

    chosen = plan.chosen(routes)
    # A mapper of the user's own may print; standard output is the report's.
    with (
        _interruptible() as stopping,
        display(quiet) as observer,
        redirect_stdout(sys.stderr),
        local_workers(plan, observer, stopping) as workers,
    ):
        return work(Run(plan, chosen, workers, stopping, show_values))


def _needs_prefect(plan: Plan) -> bool:
    """Whether the plan's runs are flows without being asked: by their environment, or for workers Prefect leads to."""
    return bool(os.environ.get("PREFECT_API_URL")) or plan.run.runner in ("dask", "ray")


def _opened(plan_path: Path, folder: Path | None) -> tuple[Plan, Path]:
    """Return the plan and where the report goes, which can be written.

    Raises PlanError before any work is done if it cannot.
    """
    from flows.plan import load
    from flows.report import default_folder

    plan = load(plan_path)
    chosen = folder or default_folder(plan)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=chosen):
            pass
    except OSError as error:
        raise PlanError(
            "E-REPORT-DIR", f"the report cannot be written to {str(chosen)!r}: {error.strerror}; say --report DIR"
        ) from error
    return plan, chosen


def _conclude(report: Report, folder: Path, as_json: bool) -> NoReturn:
    """Print the report, write it, and exit with its code."""
    from flows.report import as_text, write

    if as_json:
        _print_json(report.as_json())
    else:
        print(as_text(report))
    try:
        written = write(report, folder)
    except OSError as error:
        print(f"offramp: the report was not written to {str(folder)!r}: {error.strerror}", file=sys.stderr)
    else:
        print(f"report: {', '.join(map(str, written))}", file=sys.stderr if as_json else sys.stdout)
    _exit(report)


_signalled: list[int] = []


def _exit(report: Report) -> NoReturn:
    sys.exit(128 + _signalled[0] if _signalled else report.exit_code)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a stop at the next checkpoint, a second one into an exit at once."""

    def note(number: int, _frame: object) -> None:
        if _signalled:
            os._exit(128 + number)
        _signalled.append(number)
        STOPPING.set()
        print("stopping at the next checkpoint; run it again to go on (a second signal stops at once)", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield STOPPING.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_json(value: Any) -> None:
    # ASCII: a store's own keys may hold bytes that no terminal and no JSON reader takes.
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
