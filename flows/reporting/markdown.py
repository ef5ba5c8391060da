"""A report as Markdown, for artifacts and for report.md."""

from __future__ import annotations

from flows.quantities import counted
from flows.reporting.advice import Step, next_steps
from flows.reporting.columns import NOT_CHECKED, cells, text_headings, total_cells
from flows.reporting.entries import Entry, entries, without_verdict
from flows.reporting.headline import meaning
from flows.reporting.markdown_text import code, plain, prose, table
from flows.reporting.model import Report
from flows.reporting.text import closing_line, loss_text
from flows.reporting.wording import (
    ALWAYS_UNCHECKED,
    as_line,
    canaries,
    remarks,
    server_text,
    slowed_down,
    sums,
    unchecked,
)
from flows.verifier.field_differences import FieldDifference


def as_markdown(report: Report) -> str:
    """Return the report as a Markdown page: the verdict first, then the table, what was not checked, and each route."""
    lines = [
        f"# {plain(report.plan)}: {report.plan_verdict}",
        "",
        plain(meaning(report)),
        "",
        "Next:",
        "",
        *map(_step, next_steps(report)),
        "",
    ]
    lines += [prose(closing_line(report)), ""]
    shown = entries(report)
    rows = [cells(entry.row, "markdown") for entry in shown]
    if len(rows) > 1:
        rows.append(total_cells([entry.row for entry in shown], "markdown"))
    if rows:
        lines += table([{name: plain(cell) for name, cell in row.items()} for row in rows], text_headings("markdown"))
    lines += [
        *(f"- Without a verdict: {plain(other.route)}, {plain(other.void)}" for other in without_verdict(report)),
        "",
    ]
    if found := canaries(report):
        lines += ["## The verification itself", "", *(f"- {prose(sentence)}" for sentence in found), ""]
    lines += ["## What was not checked", ""]
    lines.extend(f"- {prose(what)} ({plain(', '.join(routes))})" for what, routes in unchecked(report).items())
    lines += [*(f"- {sentence}" for sentence in ALWAYS_UNCHECKED), ""]
    for entry in shown:
        lines += _clean_route(entry) if entry.row.verdict == "clean" else _route(entry)
    lines += ["## Circumstances", "", f"`{NOT_CHECKED}` means not checked. Fingerprint {code(report.fingerprint)},"]
    began, ended = (report.source.cluster_time_began or "none", report.source.cluster_time_ended or "none")
    lines += [
        f"from {report.started.isoformat(timespec='seconds')} to {report.finished.isoformat(timespec='seconds')},"
        f" report.json's SHA-256 `{report.digest()}`.",
        "",
        f"- Source: {prose(report.source.server or 'server unknown')}, database {plain(report.source.database)},"
        f" {plain(report.source.version or 'version unknown')}; cluster time {plain(began)} to {plain(ended)}.",
        *(f"- Target {plain(server.target)}: {prose(server_text(server))}" for server in report.servers),
        f"- Versions: {plain(', '.join(f'{name} {version}' for name, version in report.versions.items()))}.",
        "",
        "Approved by (name, role, date, signature): ____________________________________________",
        "",
    ]
    return "\n".join(lines)


def _step(step: Step) -> str:
    routes = f"For {plain(', '.join(step.routes))}: " if step.routes else ""
    return f"- {routes}{prose(step.text)}"


def _route(entry: Entry) -> list[str]:
    """Return the section of a route: all that is known of it."""
    route = entry.row
    lines = [f"## {plain(route.route)}: {route.verdict}", "", f"- {_about(entry)}"]
    lines.extend(f"- {prose(reason)}" for reason in route.reasons)
    lines.extend(f"- {as_line(route, equation)}" for equation in sums(route))
    lines.extend(f"- {prose(remark)}" for remark in remarks(route))
    lines.extend(
        f"- {plain(kind)} at {code(address)}" for kind, addresses in route.samples.items() for address in addresses
    )
    lines.extend(f"- {prose(loss_text(loss))}" for loss in route.lost)
    lines.extend(f"- rejected {counted(count, 'document')}: {plain(name)}" for name, count in route.rejects.items())
    lines.extend([f"- {prose(slowdown)}"] if (slowdown := slowed_down(route)) else [])
    lines.append("")
    if route.differing is not None and route.differing.samples:
        lines += table([_difference_cells(sample) for sample in route.differing.samples])
    return lines


def _clean_route(entry: Entry) -> list[str]:
    """Return the section of a clean route: where it is, what a person has accepted or done, and its losses."""
    route = entry.row
    lines = [f"## {plain(route.route)}: {route.verdict}", "", f"- {_about(entry)}"]
    lines.extend(f"- {prose(remark)}" for remark in remarks(route))
    lines.extend(f"- {prose(loss_text(loss))}" for loss in route.lost)
    return [*lines, ""]


def _about(entry: Entry) -> str:
    route = entry.row
    where = f", {code(route.location)}" if route.location else ""
    published = f", read by clients at {code(route.place)}" if route.place else ""
    found = plain(f"; verified: {route.verified}{f'; {entry.found}' if entry.found else ''}")
    return f"From {plain(route.collection)} to {plain(route.target)}{where}{published}{found}"


def _difference_cells(sample: FieldDifference) -> dict[str, str]:
    row = {"kind": plain(sample.kind), "path": code(sample.path or "(whole)"), "address": code(sample.address)}
    types = {"source type": sample.source_type, "maps to": sample.expected_type, "target holds": sample.found_type}
    row |= {name: plain(kind) for name, kind in types.items()}
    if sample.expected is not None:
        row |= {"value it maps to": code(sample.expected), "value held": code(sample.found or "")}
    return row
