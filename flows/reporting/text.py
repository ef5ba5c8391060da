"""The report as people and programs read it: a terminal table, report.json, .md and .html, from one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from flows.plan.load import Plan
from flows.reporting.html_page import as_html
from flows.reporting.model import FieldLoss, PastRun, Report, RouteReport
from flows.reporting.wording import (
    ALWAYS_UNCHECKED,
    as_line,
    held_back,
    meaning,
    next_step,
    number,
    said,
    sums,
    unchecked,
    visible,
)
from flows.verifier.field_differences import FieldDifference

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
        lines.extend(f"{route.route}: {told}" for told in said(route))
        if " -> " in route.place:
            lines.append(f"{route.route}: published, {route.place}")
        lines.extend(f"{route.route}: {kind} at {visible(found[0])}" for kind, found in route.samples.items())
        lines.extend(f"{route.route}: {_lost(loss)}" for loss in route.lost)
        if told := held_back(route):
            lines.append(f"{route.route}: {told}")
    lines.append("")
    lines.append(_closing(report))
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    """Return the report as a Markdown page: the verdict first, then the table, what was not checked, and each route."""
    lines = [f"# {_plain(report.plan)}: {report.verdict}", "", meaning(report), "", f"Next: {next_step(report)}", ""]
    lines += [_closing(report), ""]
    if report.routes:
        lines += _markdown_table([cells(route) for route in report.routes], ("route", "target", "verdict"))
    lines += ["## What was not checked", ""]
    lines.extend(f"- {_plain(told)} ({_plain(', '.join(routes))})" for told, routes in unchecked(report).items())
    lines += [*(f"- {sentence}" for sentence in ALWAYS_UNCHECKED), ""]
    for route in report.routes:
        lines += [f"## {_plain(route.route)}", ""]
        lines.extend(f"- {_plain(reason)}" for reason in route.reasons)
        lines.extend(f"- {as_line(route, one)}" for one in sums(route))
        lines.extend(f"- {_plain(told)}" for told in said(route))
        lines.extend(f"- {kind} at {_code(address)}" for kind, found in route.samples.items() for address in found)
        lines.extend(f"- {_plain(_lost(loss))}" for loss in route.lost)
        lines.extend(f"- rejected {number(count)} x {_plain(code)}" for code, count in route.rejects.items())
        lines.extend([f"- {told}"] if (told := held_back(route)) else [])
        lines.append("")
        if route.differing is not None and route.differing.samples:
            lines += _markdown_table([_differing_cells(one) for one in route.differing.samples])
    lines += ["## Circumstances", "", f"`{NOT_CHECKED}` means not checked. Fingerprint `{report.fingerprint}`,"]
    lines += [
        f"from {report.started.isoformat(timespec='seconds')} to {report.finished.isoformat(timespec='seconds')},"
        f" report.json's SHA-256 `{report.digest()}`.",
        "",
        f"Source: {report.source.version or 'version unknown'}; cluster time"
        f" {report.source.cluster_time_began or 'none'} to {report.source.cluster_time_ended or 'none'}.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in report.versions.items())}.",
        "",
        "Approved by (name, role, date, signature): ____________________________________________",
        "",
    ]
    return "\n".join(lines)


def _markdown_table(rows: Sequence[Mapping[str, str]], left: Sequence[str] | None = None) -> list[str]:
    names = list(rows[0])
    rule = [":--" if left is None or name in left else "--:" for name in names]
    body = [[_plain(row[name]) for name in names] for row in rows]
    return ["| " + " | ".join(cut) + " |" for cut in (names, rule, *body)] + [""]


def _differing_cells(one: FieldDifference) -> dict[str, str]:
    row = {"kind": one.kind, "path": _code(one.path or "(whole)"), "address": _code(one.address)}
    row |= {"source type": one.source_type, "maps to": one.expected_type, "target holds": one.found_type}
    if one.expected is not None:
        row |= {"value it maps to": _code(one.expected), "value held": _code(one.found or "")}
    return row


def history_table(runs: Sequence[PastRun]) -> str:
    """Return runs of a plan as a table."""
    rows = [
        {
            "began": f"{run.began[:19].replace('T', ' ')} UTC",
            "command": run.command,
            "verdict": run.verdict or "did not end",
            "read": NOT_CHECKED if run.read is None else number(run.read),
            "copied a second, at most": NOT_CHECKED if run.fastest is None else number(round(run.fastest)),
        }
        for run in runs
    ]
    return table(rows, left=("began", "command", "verdict"))


def default_folder(plan: Plan) -> Path:
    """Return where reports of a plan go unless said: beside the plan, wherever the command is run."""
    return plan.path.absolute().parent / ".offramp" / "reports" / plan.name


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # What a store holds may be no Unicode.


FORMS: Mapping[str, Callable[[Report], bytes]] = {
    "json": Report.as_bytes,
    "md": lambda report: _encoded(as_markdown(report)),
    "html": lambda report: _encoded(as_html(report)),
}
"""The forms of a report that are files, by how their names end."""


def write(report: Report, folder: Path, forms: Iterable[str] = tuple(FORMS)) -> list[Path]:
    """The folder holds the report in these forms, each file whole or as it was; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for form in forms:
        path = folder / f"report.{form}"
        draft = folder / f".report.{form}.draft"
        draft.write_bytes(FORMS[form](report))
        draft.replace(path)
        written.append(path)
    return written


def _lost(loss: FieldLoss) -> str:
    accepted = "accepted" if loss.accepted else "not accepted"
    examples = f"; such as {', '.join(loss.examples)}" if loss.examples else ""
    return f"lost {loss.count} x {loss.kind} at {loss.field or 'the document'} ({accepted}{examples})"


def _closing(report: Report) -> str:
    elapsed_s = report.elapsed_s
    if elapsed_s is None:
        elapsed_s = (report.finished - report.started).total_seconds()
    unverified = [route.route for route in report.routes if route.verified == "none"]
    counted = [route.route for route in report.routes if route.verified == "counts"]
    limits = f"; not verified: {', '.join(unverified)}" if unverified else ""
    limits += f"; only counted: {', '.join(counted)}" if counted else ""
    sampled = [route.route for route in report.routes if route.verified == "sample"]
    limits += f"; only sampled: {', '.join(sampled)}" if sampled else ""
    return f"verdict {report.verdict}: {len(report.routes)} routes in {_seconds(elapsed_s)}{limits}"


def _seconds(value: float | None) -> str:
    return NOT_CHECKED if value is None else f"{value:.1f}s"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{visible(text).replace('`', ' ')}`"
