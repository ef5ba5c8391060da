"""The sentences and numbers that every form of a report shares: the sums, remarks, what was not checked, units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.copying.own_records import INDISTINCT, NOT_OF_THE_ROUTE
from flows.quantities import counted, number, seconds, some_of
from flows.reporting.entries import entries
from flows.reporting.model import Following, Report, RouteReport, ServerSeen, Swept


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum that must close: the total is its terms added up."""

    total: str
    """A key of the route in report.json."""
    terms: Sequence[str]
    """Likewise."""
    closes: bool


def sums(row: RouteReport) -> list[Sum]:
    """Return the sums of the route's books that this run could make."""
    wanted: list[tuple[str, tuple[str, ...]]] = [] if row.figures == "sample" else [("documents", ("read",))]
    wanted.append(("read", ("dropped", "rejected", "copied")))
    if row.missing is not None:
        open_ = tuple(name for name in ("unsettled", "inconclusive") if getattr(row, name))
        wanted.append(("records", ("held", "missing", "collides", "expired", *open_)))
    elif row.held is not None:
        wanted.append(("records", ("held",)))
    equations = []
    for total, terms in wanted:
        values = [row.figure(name) for name in (total, *terms)]
        if None not in values:
            equations.append(Sum(total, terms, values[0] == sum(values[1:])))
    return equations


def as_line(row: RouteReport, equation: Sum) -> str:
    """Return the sum as a line of text."""
    terms = " + ".join(f"{number(row.figure(name))} {name}" for name in equation.terms)
    closes = "closes" if equation.closes else "does not close"
    return f"{number(row.figure(equation.total))} {equation.total} = {terms}: {closes}"


def unchecked(report: Report) -> dict[str, list[str]]:
    """Return what was not checked, a sentence each, with the routes that it concerns."""
    routes: dict[str, list[str]] = {}
    for entry in entries(report):
        for sentence in entry.row.not_checked:
            routes.setdefault(sentence, []).append(entry.row.route)
    return routes


def canaries(report: Report) -> list[str]:
    """Return what damage was planted and found before this run compared anything, a sentence for each target."""
    return list(dict.fromkeys(row.canary for row in report.routes if row.canary))


ALWAYS_UNCHECKED = (
    "Whether the plan says what was meant: verification proves that the targets hold what the plan says.",
    "Writes to the source after they were read: stop the writers first, or verify again.",
    "What the application reads: its queries, permissions and latency.",
)
"""What no run can check."""


def remarks(row: RouteReport, *, with_sync: bool = True) -> list[str]:
    """Return sentences about the route beside its reasons: accepted rejects, repairs, a sample's bound, sync."""
    sentences = [*_figures_are_of(row), *map(_accepted, row.accepted_rejects), *map(_repaired, row.repairs)]
    if row.swept is not None:
        sentences += swept_lines(row.swept)
    sentences += row.warnings
    if row.sampled:
        sentences.append(row.sampled["says"])
    if with_sync and row.sync is not None:
        sentences.append(_synced(row.sync))
    return sentences


def swept_lines(swept: Swept, *, dry_run: bool = False) -> list[str]:
    """Return what a sweep deleted and left, or with `dry_run` would delete and leave, a sentence each."""
    records = counted(swept.deleted, "record")
    lines = [
        f"{records} would be deleted, as no document maps to them"
        if dry_run
        else f"{records} deleted that an earlier run left and no document maps to"
    ]
    if swept.kept:
        named = some_of(swept.not_of_route, swept.kept)
        lines.append(
            f"{counted(swept.kept, 'record')} {'would stay' if dry_run else 'left'}: {NOT_OF_THE_ROUTE}: {named}"
        )
    if swept.deleted and swept.indistinct:
        lines.append(INDISTINCT)
    return lines


def _figures_are_of(row: RouteReport) -> list[str]:
    """Return a sentence on what the figures are of, none where they are of the copy."""
    match row.figures:
        case "none" if row.compared:
            documents, records = row.compared["documents"], row.compared["records"]
            return [
                "not backfilled: this plan's state has no copy of the route; its target was compared as it is:"
                f" {counted(documents, 'document maps', 'documents map')} to {counted(records, 'record')}"
            ]
        case "none":
            return ["not backfilled: this plan's state has no copy of the route"]
        case "past":
            return ["written to since its backfill, so the figures of the copy are history; verify with --level full"]
        case "sample":
            return [f"the figures are of the {counted(row.read, 'document')} of the sample"]
    return []


def _synced(sync: Following) -> str:
    kept = "" if sync.window_s is None else f"; the source keeps its changes for {seconds(sync.window_s)}"
    changes = changes_text(sync.events, sync.applied, sync.deleted)
    far = ", as far as its silence tells" if sync.by_silence else ""
    # Of the time of the sync: nothing tells how far a source at rest is ahead of a position.
    return f"synced to {sync.position}, then {seconds(sync.lag_s)} behind{far}: {changes} since the backfill{kept}"


def changes_text(events: int, applied: int, deleted: int) -> str:
    """Return what syncs saw and did."""
    again = f"{counted(applied, 'document')} copied again"
    return f"{counted(events, 'change')}, {again}, {counted(deleted, 'address', 'addresses')} deleted"


def _accepted(rejects: Mapping[str, Any]) -> str:
    documents = counted(rejects["documents"], "document is", "documents are")
    return (
        f"accepted by {rejects['by']} on {rejects['at']}: {documents} not in the target, such as {rejects['example']}"
        f" ({rejects['stage']}: {rejects['code']}), because: {rejects['why']}"
    )


def _repaired(repair: Mapping[str, Any]) -> str:
    kind = f" {repair['kind']}" if repair["kind"] else ""
    done = "gone from the source" if repair["done"] == "gone" else repair["done"]
    return f"{repair['command']}: {number(repair['count'])}{kind} {done}, the last on {repair['last']}"


def server_text(server: ServerSeen) -> str:
    """Return the addresses and the version of a target's server, "" if neither is known."""
    return ", ".join([*server.addresses, *([server.version] if server.version else [])])


def slowed_down(row: RouteReport) -> str:
    """Return how the target or a limit of the plan slowed copying down, "" if nothing did."""
    pace = row.pace
    if pace is None or not (pace.throttled or pace.waited_s or pace.source_waited_s):
        return ""
    waits = ((pace.waited_s, "to write"), (pace.source_waited_s, "to read"))
    waited = " and ".join(f"{seconds(time_s)} {what}" for time_s, what in waits if time_s)
    sentences = [
        *([f"throttled {counted(pace.throttled, 'time')} by its target"] if pace.throttled else []),
        *([f"its partitions waited {waited}"] if waited else []),
    ]
    rate = "" if pace.rate is None else f"; {number(round(pace.rate))} units a second in the end"
    return f"{', '.join(sentences)}{rate}"


def size(least_bytes: int) -> str:
    """Return the class of sizes that begins at so many bytes, such as 1–2 KB."""
    for unit, bytes_ in (("MB", 1 << 20), ("KB", 1 << 10)):
        if least_bytes >= bytes_:
            return f"{least_bytes // bytes_}–{least_bytes // bytes_ * 2} {unit}"
    return f"{least_bytes}–{least_bytes * 2} B" if least_bytes < 512 else "½–1 KB"
