"""The command line. Everything heavy is imported by the command that needs it: `--help` answers at once."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from flows.cli.deploy import deploy
from flows.cli.options import JSON, PLAN, ROUTES, interruptible, leave, print_json
from flows.cli.rejects import rejects, repair
from flows.cli.report import report as report_command
from flows.connect.gc_tuning import seldom
from stores.errors import OfframpError, PlanError, origin

if TYPE_CHECKING:
    from flows.plan.load import Plan
    from flows.reporting.model import Level, Report
    from flows.verifier.job import Asked

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
        from flows.run.logs import to_stderr

        to_stderr()


@offramp.command()
@PLAN
@ROUTES
@JSON
def check(plan_path: Path, routes: tuple[str, ...], as_json: bool) -> None:
    """Find every fault of PLAN, of its source and of its targets, and write nothing."""
    from dataclasses import asdict

    from flows.connect import preflight
    from flows.plan.load import load
    from flows.replication.forecast import sync_notes
    from flows.reporting import text as report

    plan = load(plan_path)
    found = preflight.check(plan, plan.chosen(routes))
    notes = sync_notes(plan, plan.chosen(routes), {one.route: one.documents for one in found})
    found = [replace(one, notes=[*one.notes, *notes[one.route]]) for one in found]
    if as_json:
        print_json({"plan": plan.name, "routes": [asdict(one) for one in found]})
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
@PLAN
@ROUTES
@click.option(
    "--verify",
    "level",
    type=click.Choice(("none", "counts", "sample", "full")),
    default="full",
    show_default=True,
    help="How to compare the target afterwards.",
)
@click.option("--restart", is_flag=True, help="Forget the checkpoints of these routes and copy everything again.")
@_VALUES
@_REPORT
@JSON
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
    from flows.verifier.job import Asked

    plan, folder = _opened(plan_path, folder)
    if prefect or _needs_prefect(plan):
        from flows import backfill as flow

        report = flow.run(plan_path, routes, level, restart=restart, folder=folder, show_values=show_values)
    else:
        asked = Asked(level, show_values=show_values)
        report = _run(plan, routes, as_json, lambda run: run.backfill(asked, restart=restart))
    _conclude(report, folder, as_json)


@offramp.command()
@PLAN
@ROUTES
@click.option(
    "--level",
    type=click.Choice(("counts", "sample", "full")),
    default="full",
    show_default=True,
    help="counts: how many, per partition and type of _id; sample: documents drawn at random, and the bound they give;"
    " full: every document, both directions, going on where an earlier run stopped.",
)
@click.option("--sample", type=click.IntRange(min=1), help="Documents that --level sample draws. [default: 30000]")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the bound that a sample gives.",
)
@click.option(
    "--at-most",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Draw as many as prove, if none differs, that at most this part of all documents does, such as 0.001.",
)
@click.option("--restart", is_flag=True, help="Begin a full verification anew where one could go on.")
@click.option("--canary", is_flag=True, help="First plant known damage in a scratch area of each target, and find it.")
@_VALUES
@_REPORT
@JSON
@_PREFECT
def verify(
    plan_path: Path,
    routes: tuple[str, ...],
    level: Level,
    sample: int | None,
    confidence: float,
    at_most: float | None,
    restart: bool,
    canary: bool,
    show_values: bool,
    folder: Path | None,
    as_json: bool,
    prefect: bool,
) -> None:
    """Compare what the targets hold with what the source of PLAN says now, and report; no record is written."""
    plan, folder = _opened(plan_path, folder)
    asked = replace(_asked(level, sample, confidence, at_most), restart=restart, canary=canary, show_values=show_values)
    if prefect or _needs_prefect(plan):
        from flows import verification as flow

        report = flow.run(plan_path, routes, asked, folder=folder)
    else:
        report = _run(plan, routes, as_json, lambda run: run.verification(asked))
    _conclude(report, folder, as_json)


def _asked(level: Level, sample: int | None, confidence: float, at_most: float | None) -> Asked:
    from flows.verifier.job import Asked
    from flows.verifier.sample import DOCUMENTS, needed

    if sample is not None and at_most is not None:
        raise click.UsageError("--sample and --at-most both say how many documents are drawn; give one of them")
    if level != "sample" and (sample is not None or at_most is not None):
        raise click.UsageError(f"{'--sample' if at_most is None else '--at-most'} is for --level sample")
    documents = sample or (needed(at_most, confidence) if at_most is not None else DOCUMENTS)
    return Asked(level, documents, confidence)


@offramp.command()
@PLAN
@ROUTES
@click.option("--follow", is_flag=True, help="Stay, and go on with what changes, until a signal.")
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write report.json, report.md and report.html there too.",
)
@JSON
def sync(plan_path: Path, routes: tuple[str, ...], follow: bool, folder: Path | None, as_json: bool) -> None:
    """Bring the targets of PLAN up to what its source is now: what changed since the backfill, deletes too.

    It ends once it has come to the time at which it began, unless it is to stay; nothing is compared. A route's first
    sync goes on from the position that its backfill noted before it read the first document.
    """
    from flows.plan.load import load
    from flows.replication.sync import sync as engine
    from flows.run.console import following

    plan = load(plan_path) if folder is None else _opened(plan_path, folder)[0]
    with interruptible() as stopping, following(as_json) as watching, redirect_stdout(sys.stderr):
        report = engine(plan, plan.chosen(routes), follow=follow, stopping=stopping, watching=watching)
    _conclude(report, folder, as_json)


@offramp.command()
@PLAN
@JSON
def status(plan_path: Path, as_json: bool) -> None:
    """Show how far each route of PLAN has come, from its state alone: no store is asked."""
    from flows.plan.load import load
    from flows.reporting import text as report
    from flows.run.status import status as statuses

    rows = statuses(load(plan_path))
    if as_json:
        print_json({"routes": rows})
        return
    shown = (
        *("route", "stage", "partitions", "read", "dropped", "rejected", "records", "lag_s", "synced_to"),
        *("verdict", "at_work"),
    )
    cells = [{name: "-" if row[name] in (None, "") else str(row[name]) for name in shown} for row in rows]
    print(report.table(cells, left=("route", "stage", "synced_to", "verdict", "at_work")))
    for row in rows:
        if row["halted"]:
            print(f"{row['route']}: halted: its collection {row['halted']}")
        for reject in row["rejects"]:
            where = f" {reject['field']}" if reject["field"] else ""
            print(f"{row['route']}: {reject['id']}: {reject['stage']}: {reject['code']}{where}: {reject['reason']}")
        if row["stopped"]:
            print(f"{row['route']}: {row['stopped']}")
        if (more := row["rejected"] - row["accepted"] - len(row["rejects"])) > 0:
            print(f"{row['route']}: and {more} more rejects; see offramp rejects list")
        if row["accepted"]:
            print(f"{row['route']}: {row['accepted']} rejects are accepted; see offramp rejects list --accepted")


@offramp.command()
@click.argument("code", metavar="CODE")
@JSON
def explain(code: str, as_json: bool) -> None:
    """Tell what an error code such as E-DDB-KEYS means, what offramp did, and what to do."""
    import difflib

    from flows.docgen.errors import explained
    from flows.error_codes import CATALOGUE
    from mappers.error_codes import EFFECTS

    name = code.upper()
    if (entry := CATALOGUE.get(name)) is None:
        near = ", ".join(difflib.get_close_matches(name, CATALOGUE, 4)) or "one of docs/errors.md"
        raise click.BadParameter(f"{name} is none of offramp's own codes; did you mean {near}?")
    if as_json:
        effects = {effect: EFFECTS[effect] for effect in entry.effects}
        print_json({"code": name, "meaning": entry.meaning, "effects": effects, "remedy": entry.remedy})
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
@click.option("--live", is_flag=True, help="Write to the source meanwhile: copy, follow, catch up, then verify.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=20, show_default=True, help="How long --live follows the source."
)
@JSON
def demo(folder: Path, documents: int, live: bool, seconds: float, as_json: bool) -> None:
    """Seed a small marketplace in a local MongoDB, move it to three local stores, verify and report."""
    from flows.demo import run as demonstration

    with interruptible() as stopping:
        report = demonstration.run(
            folder, documents, live_s=seconds if live else None, quiet=as_json, stopping=stopping
        )
    if as_json:
        print_json(report.as_json())
    leave(report.exit_code)


for _command in (rejects, repair, deploy, report_command):
    offramp.add_command(_command)


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
        print_json({"error": {"code": code, "message": message}})
    sys.exit(exit_code)


def _run(plan: Plan, routes: Sequence[str], quiet: bool, work: Callable[[Any], Report]) -> Report:
    from flows.run.backfill import Run
    from flows.run.console import display
    from flows.run.processes import local_workers

    chosen = plan.chosen(routes)
    # A mapper of the user's own may print; standard output is the report's.
    with (
        interruptible() as stopping,
        display(quiet) as observer,
        redirect_stdout(sys.stderr),
        local_workers(plan, observer, stopping) as workers,
    ):
        return work(Run(plan, chosen, workers, stopping))


def _needs_prefect(plan: Plan) -> bool:
    """Whether the plan's runs are flows without being asked: by their environment, or for workers Prefect leads to."""
    return bool(os.environ.get("PREFECT_API_URL")) or plan.run.runner in ("dask", "ray")


def _opened(plan_path: Path, folder: Path | None) -> tuple[Plan, Path]:
    """Return the plan and where the report goes, which can be written.

    Raises PlanError before any work is done if it cannot.
    """
    from flows.plan.load import load
    from flows.reporting.text import default_folder

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


def _conclude(report: Report, folder: Path | None, as_json: bool) -> NoReturn:
    """Print the report, write it to the folder if there is one, and exit with its code."""
    from flows.reporting.text import as_text, write

    if as_json:
        print_json(report.as_json())
    else:
        print(as_text(report))
    if folder is None:
        leave(report.exit_code)
    try:
        written = write(report, folder)
    except OSError as error:
        print(f"offramp: the report was not written to {str(folder)!r}: {error.strerror}", file=sys.stderr)
    else:
        print(f"report: {', '.join(map(str, written))}", file=sys.stderr if as_json else sys.stdout)
    leave(report.exit_code)


if __name__ == "__main__":
    main()
