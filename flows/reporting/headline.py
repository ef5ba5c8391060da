"""What a report says first: how many routes have which verdict, and what each verdict means for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.quantities import counted, number
from flows.reporting.entries import entries, without_verdict
from flows.reporting.model import VERDICTS, Report, RouteReport, Verdict

_IN_A_COUNT: Mapping[Verdict, str] = {
    "clean": "clean",
    "pending": "with changes pending",
    "rejects": "with rejects",
    "mismatches": "with mismatches",
    "stopped": "stopped",
    "failed": "without a result",
}
"""How many routes have a verdict, as in `2 with mismatches`."""


def meaning(report: Report) -> str:
    """Return what the verdicts mean: how many routes have each, then a sentence for each, the worst first."""
    if not report.routes:
        return "The run has no result: it had no route."
    rows = [entry.row for entry in entries(report)]
    unknown = without_verdict(report)
    routes = {verdict: [row for row in rows if row.verdict == verdict] for verdict in VERDICTS}
    sentences = [_counted(routes, len(unknown))] if len(rows) + len(unknown) > 1 else []
    if report.others:
        sentences.append(_part(report))
    if unknown:
        named = ", ".join(f"{other.route} ({other.void})" for other in unknown)
        sentences.append(f"No verdict stands of these routes, which were not in this run: {named}.")
    sentences += [sentence for verdict in reversed(VERDICTS) if (sentence := _sentence(verdict, routes[verdict]))]
    if len(routes["clean"]) == len(rows) and not unknown:
        sentences.append(_clean(report.command, rows))
    return " ".join(sentences)


def _part(report: Report) -> str:
    """Return which routes of the plan the run was about."""
    named = ", ".join(row.route for row in report.routes)
    total = len(report.routes) + len(report.others)
    return f"This run was about {number(len(report.routes))} of {counted(total, 'route')} of the plan: {named}."


def _counted(routes: Mapping[Verdict, Sequence[RouteReport]], unknown: int) -> str:
    """Return how many routes have each verdict, such as: 11 of 14 routes clean, 2 with mismatches, 1 stopped."""
    total = sum(map(len, routes.values())) + unknown
    others = [f"{number(len(routes[verdict]))} {_IN_A_COUNT[verdict]}" for verdict in VERDICTS[1:] if routes[verdict]]
    others += [f"{number(unknown)} without a verdict"] if unknown else []
    return ", ".join([f"{number(len(routes['clean']))} of {counted(total, 'route')} clean", *others]) + "."


def _sentence(verdict: Verdict, rows: Sequence[RouteReport]) -> str:
    """Return what the verdict means for these routes; "" for clean routes and for none."""
    if not rows:
        return ""
    named = ", ".join(row.route for row in rows)
    match verdict:
        case "clean":
            return ""
        case "pending":
            return (
                f"Copied, but the source has changed since; the next sync has changes to bring over, and nothing was"
                f" compared: {named}."
            )
        case "rejects":
            rejected = sum(row.open_rejects for row in rows)
            return (
                "All that could be moved was moved, but"
                f" {counted(rejected, 'document was', 'documents were')} rejected and not accepted: the targets lack"
                f" {'it' if rejected == 1 else 'them'}, whole or in part: {named}."
            )
        case "mismatches":
            return f"The targets do not hold exactly what the source and the plan say they should: {named}."
        case "stopped":
            far = ", ".join(_far(row) for row in rows)
            return f"Stopped at a checkpoint before the end, so the targets may not have all documents: {far}."
        case _:
            return f"Nothing is proven of these routes, which did not finish or could not be compared: {named}."


def _far(row: RouteReport) -> str:
    """Return the route's name and how many of its documents were read."""
    if row.documents is None:
        return row.route
    return f"{row.route} ({number(row.read)} of {counted(row.documents, 'document')} read)"


def _clean(command: str, rows: Sequence[RouteReport]) -> str:
    if command == "sync" and any(row.sync is not None and row.sync.by_silence for row in rows):
        return (
            "Every change that the source has shown is in the targets; that it had no more by the time of the sync is"
            " judged by its silence. Nothing was compared."
        )
    if command == "sync":
        return "Every change up to the time of the sync is in the targets; nothing was compared."
    accounted = "Every document that the plan covers is accounted for"
    if all(row.verified == "full" for row in rows):
        return f"{accounted}, and every record was read back from its target and found to be what its document maps to."
    partly = ", ".join(row.route for row in rows if row.verified != "full")
    return f"{accounted}, but not every record was compared with its document: {partly}."
