"""The command ``offramp deploy``; what is heavy is imported once it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from flows.cli.options import PLAN
from flows.terminal import echo

if TYPE_CHECKING:
    from flows.orchestration.deployments import Kind
    from flows.plan.model import Plan

_MOST_MINUTES = 24 * 60


@click.command()
@PLAN
@click.option(
    "--work-pool", "pool", metavar="NAME", default="offramp", show_default=True, help="Work pool that the runs go to."
)
@click.option(
    "--only",
    "kinds",
    type=click.Choice(("sync", "verification", "backfill", "check", "repair", "retry")),
    multiple=True,
    help="Only this deployment; may be repeated. The plan's other deployments are removed.",
)
@click.option(
    "--sync-every",
    "every",
    metavar="[ROUTE=]MINUTES",
    multiple=True,
    help="How often to sync; ROUTE= gives that route its own schedule; may be repeated. [default: 5]",
)
@click.option(
    "--verify-at", metavar="HH:MM", default="04:05", show_default=True, help="Time of the daily verification."
)
@click.option("--time-zone", metavar="ZONE", default="UTC", show_default=True, help="Time zone of --verify-at.")
@click.option(
    "--plan-at",
    metavar="PATH",
    help="Path of the plan for the runs, for workers on other machines or in images. [default: PLAN]",
)
@click.option(
    "--plan-block",
    "block",
    metavar="NAME",
    help="Keep the plan's text in this block of the server, for workers on machines that do not have its file.",
)
@click.option(
    "--run-in",
    "folder",
    metavar="DIR",
    help="Folder that the runs work in, on the worker's machine. [default: the plan's]",
)
@click.option(
    "--report-at",
    "report_folder",
    metavar="DIR",
    help="Folder of the reports for the runs, or s3://bucket/prefix, where they cannot write beside the plan."
    " [default: .offramp beside PLAN]",
)
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Print the deployments as a prefect.yaml, without asking a server."
)
@click.option("--serve", is_flag=True, help="Stay and run the deployments here, without a work pool and a worker.")
def deploy(
    plan_path: Path,
    pool: str,
    kinds: tuple[Kind, ...],
    every: tuple[str, ...],
    verify_at: str,
    time_zone: str,
    plan_at: str | None,
    block: str | None,
    folder: str | None,
    report_folder: str | None,
    as_yaml: bool,
    serve: bool,
) -> None:
    """Register the deployments of PLAN with the Prefect server of PREFECT_API_URL, and remove those it no longer wants.

    A sync every few minutes, a verification each day; a backfill, check, repair and retry of rejects on demand. Run it
    again after any change.
    """
    from flows.orchestration import deployments
    from flows.plan.load import load

    if serve and (as_yaml or plan_at or block or folder):
        raise click.UsageError("--serve runs the plan here; remove --yaml, --plan-at, --plan-block and --run-in")
    if block and (plan_at or as_yaml):
        raise click.UsageError("--plan-block keeps the plan on the server; remove --plan-at and --yaml")
    plan = load(plan_path)
    here = plan.path.absolute()
    elsewhere = plan_at is not None or folder is not None
    reference = f"block:{block}" if block else plan_at or str(here)
    folder = folder or str(PurePosixPath(plan_at or str(here)).parent)
    if not (elsewhere or as_yaml):
        _refuse_report_folder(plan, folder, report_folder)
    common, alone = _schedules(plan, every)
    made = deployments.deployments(
        deployments.Wanted(
            plan.name,
            reference,
            tuple(plan.routes),
            kinds=kinds or deployments.KINDS,
            sync_every_s=60 * common,
            alone_s={route: 60 * minutes for route, minutes in alone.items()},
            verify_at=_checked_time(verify_at),
            time_zone=_checked_zone(time_zone),
            report_folder=report_folder,
        )
    )
    if as_yaml:
        echo(*deployments.as_yaml(made, pool, folder).splitlines())
        return
    from flows.orchestration import registration

    lines = [f"{each.full_name}: {_when(each.schedule)}{_which(each.parameters.get('routes'))}" for each in made]
    if serve:
        echo(*lines, "", "serving; Ctrl-C ends it and pauses the schedules", flush=True)
        registration.serve_here(made, plan.name, folder)
        return
    place = registration.Place(folder, pool, elsewhere=elsewhere)
    if block:
        registration.keep_plan(block, plan, place)
    removed = registration.register(made, plan.name, place)
    echo(*lines, *(f"{name}: removed" for name in removed))
    on_demand = next((each for each in made if each.kind == "backfill"), None)
    if on_demand is not None:
        echo("", f"now:  prefect deployment run '{on_demand.full_name}'")
    echo(f"next: prefect worker start --pool {pool}")


def _refuse_report_folder(plan: Plan, folder: str, report_folder: str | None) -> None:
    """Return if runs of this machine can write their reports, as far as it is known here; raises PlanError if not.

    Of a place in S3 only the workers' credentials tell.
    """
    from flows.reporting.files import default_folder, named_folder, refuse_unwritable

    chosen = named_folder(report_folder, "--report-at") if report_folder else default_folder(plan)
    if isinstance(chosen, Path):
        refuse_unwritable(Path(folder) / chosen, "--report-at")


def _schedules(plan: Plan, every: tuple[str, ...]) -> tuple[int, Mapping[str, int]]:
    """Return the minutes between syncs, and those of routes that have their own."""
    common = 5
    alone: dict[str, int] = {}
    for text in every:
        route, _, minutes = text.rpartition("=")
        if not minutes.isdecimal() or not 1 <= int(minutes) <= _MOST_MINUTES:
            raise click.BadParameter(
                f"{text!r} is not [ROUTE=]MINUTES, with 1 to {_MOST_MINUTES} minutes", param_hint="--sync-every"
            )
        if route:
            plan.chosen([route])
            alone[route] = int(minutes)
        else:
            common = int(minutes)
    return common, alone


def _checked_time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise click.BadParameter(f"{text!r} is not HH:MM, from 00:00 to 23:59", param_hint="--verify-at")
    return text


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise click.BadParameter(
            f"{name!r} is not a time zone known here, such as Europe/Berlin", param_hint="--time-zone"
        ) from error
    return name


def _when(schedule: Mapping[str, object] | None) -> str:
    if schedule is None:
        return "on demand"
    if "cron" in schedule:
        minute, hour = map(int, str(schedule["cron"]).split()[:2])
        return f"each day at {hour:02}:{minute:02} {schedule['timezone']}"
    minutes = float(str(schedule["interval"])) / 60
    return "every minute" if minutes == 1 else f"every {minutes:g} minutes"


def _which(routes: object) -> str:
    return f", {', '.join(routes)}" if isinstance(routes, list) else ""
