"""What a run did not check, in sentences; a reader would otherwise take it for checked (R158, R160)."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plan.model import Route
from flows.quantities import counted
from flows.reporting.model import RouteReport


def not_checked(route: Route, row: RouteReport, unique_indexes: Sequence[str] = ()) -> list[str]:
    """Return a sentence for each thing about the route that the run does not prove, the most important first."""
    return [*_by_pass(route, row), *_by_plan(route), *_by_target(route, unique_indexes)]


def _by_pass(route: Route, row: RouteReport) -> list[str]:
    if row.verified == "none":
        return ["The records: nothing was compared with the source."]
    found = []
    if row.verified == "sample":
        found.append("All documents but those of the sample: a rare difference is unlikely to be among them.")
    if row.verified == "counts":
        found.append(
            "The content of the records: only their number was compared, so a changed record, or a lost one beside an"
            " extra one, does not show."
        )
    elif row.extra is None:
        found.append("Records that no document maps to: they were not looked for.")
    if row.sync is not None and route.keys.sync != "stream" and row.verified in ("sample", "full"):
        found.append(
            f"Whether what differs is only still to be synced: with sync: {route.keys.sync} nothing records what"
            " changed since; stop the writers, sync, then verify again."
        )
    if row.expired:
        records = counted(row.expired, "record that has", "records that have")
        found.append(f"The content of {records} expired and {'is' if row.expired == 1 else 'are'} gone.")
    if row.verification.get("absent_unread"):
        found.append(
            "Whether two documents share one of the records that are missing, expired or refused: they are too many to"
            " tell."
        )
    if row.rejected:
        them = "it" if row.rejected == 1 else "them"
        found.append(f"{counted(row.rejected, 'rejected document')}: the target lacks {them}, or part of {them}.")
    return found


def _by_plan(route: Route) -> list[str]:
    keys, found = route.keys, []
    if keys.where:
        found.append("Documents that `where` leaves out: they were not read.")
    if keys.fields.keep is not None or keys.fields.drop:
        found.append("Fields that `fields` leaves out: the target does not have them.")
    if route.function is not None:
        found.append(f"Whether the mapper {route.mapper_name} is right: verification runs the same mapper again.")
    elif keys.transforms:
        found.append("Whether `transforms` say what was meant: verification runs the same ones again.")
    if keys.accept_loss:
        found.append(f"Losses that the plan accepts: {', '.join(sorted(keys.accept_loss))}.")
    return found


def _by_target(route: Route, unique_indexes: Sequence[str]) -> list[str]:
    if not unique_indexes:
        return []
    names = ", ".join(sorted(unique_indexes))
    return [f"Unique indexes of the source ({names}): {route.target_name} does not enforce them."]
