"""The commands `rejects` and `repair`: what is done about documents that are not where they should be."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows import exit_codes
from flows.cli.options import JSON, PLAN, ROUTES
from flows.cli.signals import interruptible, leave
from flows.quantities import counted
from flows.terminal import echo, print_json, stdout_on_stderr, stdout_width
from stores.errors import PlanError

if TYPE_CHECKING:
    from flows.plan.model import Plan
    from stores.state.rejects import RejectFilter, StoredReject

_STAGES = click.Choice(("decode", "transform", "map", "write"))


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--stage", type=_STAGES, default=None, help="Only rejects of this stage."),
        click.option("--code", metavar="CODE", default="", help="Only rejects with this code, such as E-MAP-VALUE."),
        click.option(
            "--id", "id_", metavar="ID", default="", help="Only this document's, by its id in `rejects list`."
        ),
        ROUTES,
        PLAN,
    ):
        command = option(command)
    return command


@click.group()
def rejects() -> None:
    """See, retry or accept the documents that could not be mapped or written."""


@rejects.command("list")
@_choosing
@click.option(
    "--accepted", is_flag=True, help="List the rejects that a person has accepted, in place of the open ones."
)
@JSON
def list_(
    plan_path: Path,
    routes: tuple[str, ...],
    id_: str,
    code: str,
    stage: str | None,
    accepted: bool,
    as_json: bool,
) -> None:
    """List the rejects of PLAN, from its state alone: where, why, how often and since when; never values."""
    from flows.reporting.columns import cell
    from flows.reporting.text import table

    found = _kept(plan_path, routes, _chosen(id_, code, stage, accepted=accepted))
    if as_json:
        print_json({"rejects": [_shown(route, reject) for route, reject in found]})
        return
    rows = [
        {
            "route": route,
            "id": reject.id,
            "stage": reject.stage,
            "code": reject.code,
            "field": reject.field or "-",
            "attempts": cell(reject.attempts),
            "first": _iso(reject.first),
            "last": _iso(reject.last),
            "reason": reject.reason,
        }
        for route, reject in found
    ]
    if rows:
        echo(*table(rows, left=set(rows[0]) - {"attempts"}, width=stdout_width()))
        if accepted:
            echo(*(f"{route}: {reject.id}: {_acceptance(reject)}" for route, reject in found))
    else:
        others = len(_kept(plan_path, routes, _chosen(id_, code, stage, accepted=not accepted)))
        echo(_no_rejects(others, accepted=accepted))


def _no_rejects(others: int, *, accepted: bool) -> str:
    """Return that no reject is listed, and how many rejects the other form of the command lists."""
    if not others:
        return "no reject is on record"
    if accepted:
        return f"no reject is accepted; {counted(others, 'is', 'are')} open: offramp rejects list PLAN"
    return f"no reject is open; {counted(others, 'is', 'are')} accepted: offramp rejects list PLAN --accepted"


@rejects.command()
@_choosing
@JSON
def show(plan_path: Path, routes: tuple[str, ...], id_: str, code: str, stage: str | None, as_json: bool) -> None:
    """Show all that is known of rejects of PLAN, with the document if the plan keeps it."""
    found = _kept(plan_path, routes, _chosen(id_, code, stage))
    if not found:
        raise _none()
    if as_json:
        print_json({"rejects": [_shown(route, reject) | _document(reject) for route, reject in found]})
        return
    for route, reject in found:
        for name, value in _shown(route, reject).items():
            if name != "accepted":
                echo(f"{name}: {value}")
        if reject.acceptance is not None:
            echo(_acceptance(reject))
        kept = "not kept; set rejects: {documents: true} in the plan before the next attempt"
        echo(f"document: {reject.document or kept}", "")


@rejects.command()
@_choosing
@JSON
def retry(plan_path: Path, routes: tuple[str, ...], id_: str, code: str, stage: str | None, as_json: bool) -> None:
    """Read rejected documents from the source of PLAN again, map and write them; clear those that succeed.

    Exits with 1 while a route has a reject left that nobody accepted.
    """
    from flows.plan.load import load
    from flows.repair import retry_rejects
    from flows.reporting.columns import cell
    from flows.reporting.text import table
    from flows.run.console import display

    plan = load(plan_path)
    chosen = plan.chosen(routes)
    wanted = _chosen(id_, code, stage, accepted=None if id_ else False)
    with interruptible() as stop, display(as_json) as observer, stdout_on_stderr():
        outcomes = retry_rejects.retry(plan, chosen, wanted, stop, observer)
    left = retry_rejects.left_open(plan, chosen)
    if as_json:
        print_json({"routes": [outcome.as_json() for outcome in outcomes], "open": left})
    else:
        headings = {"route": "route", "chosen": "chosen", "mended": "corrected", "gone": "gone"}
        headings |= {"rejected": "rejected again", "nameless": "without _id"}
        rows = [outcome.as_json() for outcome in outcomes]
        cells = [{heading: cell(row[name]) for name, heading in headings.items()} for row in rows]
        echo(*table(cells, left=("route",), width=stdout_width()))
        for outcome in outcomes:
            if outcome.failure:
                echo(f"{outcome.route}: {outcome.failure}")
        echo(
            f"{counted(left, 'rejected document is', 'rejected documents are')} left; verify again: the earlier"
            " verification does not cover the retried"
            " ones"
        )
    leave(exit_codes.of_outcomes(failed=any(outcome.failure for outcome in outcomes), left=bool(left)))


@rejects.command()
@_choosing
@click.option(
    "--out",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; must not exist. Only its owner may read it.",
)
def export(plan_path: Path, routes: tuple[str, ...], id_: str, code: str, stage: str | None, file: Path) -> None:
    """Write the rejects of PLAN to a file, one JSON object a line, with the documents if the plan keeps them."""
    found = _kept(plan_path, routes, _chosen(id_, code, stage))
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            for route, reject in found:
                out.write(json.dumps(_shown(route, reject) | _document(reject)) + "\n")
    except OSError as error:
        raise PlanError("E-REJECTS-FILE", f"{str(file)!r} cannot be written: {error.strerror}; name another") from error
    echo(f"{counted(len(found), 'reject')}: {file}")


@rejects.command()
@_choosing
@click.option(
    "--reason",
    metavar="TEXT",
    default="",
    help="Why the target may lack these documents.  [required, except with --undo]",
)
@click.option("--by", metavar="NAME", default="", help="Who accepts this. [default: the logged-in user]")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Accept every reject of the chosen routes; needed unless --id, --code or --stage chooses some.",
)
@click.option("--undo", is_flag=True, help="Reopen accepted rejects.")
@JSON
def drop(
    plan_path: Path,
    routes: tuple[str, ...],
    id_: str,
    code: str,
    stage: str | None,
    reason: str,
    by: str,
    everything: bool,
    undo: bool,
    as_json: bool,
) -> None:
    """Accept that rejected documents of PLAN are not in the target: verdicts pass them, reports list them.

    Nothing is forgotten, and nothing is written to a target. An acceptance ends when its document is rejected for
    another cause, and with `backfill --restart`.
    """
    from flows.plan.load import load
    from flows.repair.retry_rejects import accept

    if not undo and not reason.strip():
        raise click.UsageError("--reason is missing; say why, for those who read the report")
    if not (id_ or code or stage or everything):
        raise click.UsageError("nothing is chosen; add --id, --code, --stage or --all")
    plan = load(plan_path)
    wanted = _chosen(id_, code, stage)
    done = accept(plan, plan.chosen(routes), wanted, by or getpass.getuser(), reason.strip(), undo=undo)
    if as_json:
        print_json({"opened" if undo else "accepted": done})
        return
    for route, rejects in done.items():
        echo(f"{route}: {counted(rejects, 'reject')} {'opened again' if undo else 'accepted'}")


def _chosen(id_: str, code: str, stage: str | None, *, accepted: bool | None = None) -> RejectFilter:
    from stores.state.rejects import RejectFilter

    return RejectFilter(id_, code, stage or "", accepted)


def _kept(plan_path: Path, routes: Sequence[str], chosen: RejectFilter) -> list[tuple[str, StoredReject]]:
    from flows.connect.stores import open_state
    from flows.plan.load import load

    plan: Plan = load(plan_path)
    with open_state(plan) as state:
        return [
            (route.name, reject)
            for route in plan.chosen(routes)
            for reject in state.rejects.of_route(route.name, chosen)
        ]


def _shown(route: str, reject: StoredReject) -> dict[str, Any]:
    """Return what may be shown of a reject to anybody."""
    accepted: Mapping[str, Any] | None = None
    if reject.acceptance is not None:
        accepted = {**asdict(reject.acceptance), "at": _iso(reject.acceptance.at)}
    shown = {name: getattr(reject, name) for name in ("id", "stage", "code", "field", "reason", "attempts")}
    return {"route": route, **shown, "first": _iso(reject.first), "last": _iso(reject.last), "accepted": accepted}


def _document(reject: StoredReject) -> dict[str, Any]:
    """Return the `_id` and, where it is kept, the document, both as Extended JSON."""
    from mappers.documents.extended_json import to_extended

    return {
        "_id": json.loads(to_extended(reject.position))["_id"] if reject.position else None,
        "document": json.loads(reject.document) if reject.document else None,
    }


def _acceptance(reject: StoredReject) -> str:
    acceptance = reject.acceptance
    return f"accepted by {acceptance.by} on {_iso(acceptance.at)}: {acceptance.why}" if acceptance is not None else ""


def _none() -> PlanError:
    return PlanError(
        "E-REJECTS-NONE",
        "no reject matches these options; `offramp rejects list PLAN` shows the open ones, --accepted the others",
    )


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
