"""The report as people and programs read it: a terminal table, report.json and report.md, from one object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.books import FieldLoss, Following, Pace, Report, RouteReport
from flows.plan import Plan

NOT_CHECKED = "-"

_COLUMNS = (
    "documents",
    "read",
    "dropped",
    "rejected",
    "records",
    "held",
    "expired",
    "missing",
    "differs",
    "extra",
    "collides",
)


def cells(route: RouteReport) -> dict[str, str]:
    """Return the route's row of the table, each cell as text; what was not checked is ``-``."""
    row = {"route": route.route, "target": route.target}
    for name in _COLUMNS:
        value = getattr(route, name)
        row[name] = NOT_CHECKED if value is None else f"{value:,}".replace(",", " ")
    row["losses"] = str(sum(route.losses.values()))
    row["backfill"] = _seconds(route.backfill_s)
    row["verify"] = _seconds(route.verify_s)
    row["verdict"] = route.verdict
    return row


def table(rows: Sequence[Mapping[str, str]], left: Iterable[str] = ("route", "target", "verdict")) -> str:
    """Return rows of cells as aligned lines under their names; `left` are the columns of words."""
    names = list(rows[0]) if rows else []
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    words = set(left)

    def line(row: Mapping[str, str]) -> str:
        cut = (row[name].ljust(widths[name]) if name in words else row[name].rjust(widths[name]) for name in names)
        return "  ".join(cut).rstrip()

    return "\n".join([line({name: name for name in names}), *map(line, rows)])


def as_text(report: Report) -> str:
    """Return the report for a terminal: table, reasons, verdict."""
    lines = [table([cells(route) for route in report.routes])] if report.routes else []
    for route in report.routes:
        lines.extend(f"{route.route}: {reason}" for reason in route.reasons)
        lines.extend(f"{route.route}: {accepted_text(one)}" for one in route.accepted_rejects)
        lines.extend(f"{route.route}: {repaired_text(one)}" for one in route.repairs)
        if route.sampled:
            lines.append(f"{route.route}: {route.sampled['says']}")
        if " -> " in route.place:
            lines.append(f"{route.route}: published, {route.place}")
        lines.extend(f"{route.route}: {kind} at {visible(found[0])}" for kind, found in route.samples.items())
        lines.extend(f"{route.route}: {_lost(loss)}" for loss in route.lost)
        if told := _held_back(route.pace):
            lines.append(f"{route.route}: {told}")
        if route.sync is not None:
            lines.append(f"{route.route}: {_followed(route.sync)}")
    lines.append("")
    lines.append(_closing(report))
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    """Return the report as a Markdown page: verdict first, then the table and the reasons."""
    rows = [cells(route) for route in report.routes]
    lines = [f"# {_plain(report.plan)}: {report.verdict}", "", _closing(report), ""]
    if rows:
        names = list(rows[0])
        rule = [":--" if name in ("route", "target", "verdict") else "--:" for name in names]
        body = [[_plain(row[name]) for name in names] for row in rows]
        lines.extend("| " + " | ".join(cut) + " |" for cut in (names, rule, *body))
        lines.append("")
    for route in report.routes:
        told = _held_back(route.pace)
        if (
            route.reasons
            or route.samples
            or route.lost
            or route.sampled
            or told
            or route.sync
            or route.accepted_rejects
            or route.repairs
        ):
            lines += [f"## {_plain(route.route)}", ""]
            lines.extend(f"- {_plain(reason)}" for reason in route.reasons)
            lines.extend(f"- {_plain(accepted_text(one))}" for one in route.accepted_rejects)
            lines.extend(f"- {repaired_text(one)}" for one in route.repairs)
            lines.extend([f"- {route.sampled['says']}"] if route.sampled else [])
            lines.extend(
                f"- {kind} at `{visible(address).replace('`', ' ')}`"
                for kind, found in route.samples.items()
                for address in found
            )
            lines.extend(f"- {_plain(_lost(loss))}" for loss in route.lost)
            lines.extend([f"- {told}"] if told else [])
            lines.append("")
    lines += [
        f"`{NOT_CHECKED}` means not checked. Fingerprint `{report.fingerprint}`,",
        f"from {report.started.isoformat(timespec='seconds')} to {report.finished.isoformat(timespec='seconds')}.",
        "",
    ]
    return "\n".join(lines)


def default_folder(plan: Plan) -> Path:
    """Return where reports of a plan go unless said: beside the plan, wherever the command is run."""
    return plan.path.absolute().parent / ".offramp" / "reports" / plan.name


def write(report: Report, folder: Path) -> list[Path]:
    """The folder holds report.json and report.md of this report, each whole or as it was; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "report.json": json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n",
        "report.md": as_markdown(report),
    }
    for name, content in contents.items():
        draft = folder / f".{name}.draft"
        draft.write_text(content, encoding="utf-8", errors="backslashreplace")
        draft.replace(folder / name)
    return [folder / name for name in contents]


def _lost(loss: FieldLoss) -> str:
    accepted = "accepted" if loss.accepted else "not accepted"
    examples = f"; such as {', '.join(loss.examples)}" if loss.examples else ""
    return f"lost {loss.count} x {loss.kind} at {loss.field or 'the document'} ({accepted}{examples})"


def _followed(sync: Following) -> str:
    kept = "" if sync.window_s is None else f"; the source keeps its changes for {sync.window_s / 3600:.1f} h"
    return (
        f"synced to {sync.position}, {sync.lag_s:g} s behind: {sync.events} changes, {sync.applied} documents copied"
        f" again, {sync.deleted} addresses deleted since the backfill{kept}"
    )


def accepted_text(one: Mapping[str, Any]) -> str:
    """Return what a person accepted, in words."""
    return (
        f"accepted by {one['by']} on {one['at']}: {one['documents']} documents are not in the target, such as"
        f" {visible(one['example'])} ({one['stage']}: {one['code']}), because: {visible(one['why'])}"
    )


def repaired_text(one: Mapping[str, Any]) -> str:
    """Return what was done to a target after its backfill, in words."""
    kind = f" {one['kind']}" if one["kind"] else ""
    return f"{one['command']}: {one['count']}{kind} {one['done']}, the last on {one['last']}"


def _held_back(pace: Pace | None) -> str:
    """Return how copying was held back, "" if it was not."""
    if pace is None or not (pace.throttled or pace.waited_s or pace.source_waited_s):
        return ""
    rate = "" if pace.rate is None else f"; {pace.rate:.0f} units a second in the end"
    source = f" and {pace.source_waited_s:.1f} s to read" if pace.source_waited_s else ""
    return f"throttled {pace.throttled} times, its partitions waited {pace.waited_s:.1f} s to write{source}{rate}"


def _closing(report: Report) -> str:
    seconds = (report.finished - report.started).total_seconds()
    unverified = [route.route for route in report.routes if route.verified == "none"]
    counted = [route.route for route in report.routes if route.verified == "counts"]
    limits = f"; not verified: {', '.join(unverified)}" if unverified else ""
    limits += f"; only counted: {', '.join(counted)}" if counted else ""
    sampled = [route.route for route in report.routes if route.verified == "sample"]
    limits += f"; only sampled: {', '.join(sampled)}" if sampled else ""
    return f"verdict {report.verdict}: {len(report.routes)} routes in {_seconds(seconds)}{limits}"


def visible(text: str) -> str:
    """Return the text with what a terminal would obey, or could not show, written out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _seconds(value: float | None) -> str:
    return NOT_CHECKED if value is None else f"{value:.1f}s"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
