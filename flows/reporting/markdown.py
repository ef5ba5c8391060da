"""A report as Markdown, for artifacts and for report.md."""

from __future__ import annotations

from flows.reporting.advice import next_steps
from flows.reporting.columns import NOT_CHECKED, cells, text_headings
from flows.reporting.headline import meaning
from flows.reporting.markdown_text import code, plain, prose, table
from flows.reporting.model import Report
from flows.reporting.text import closing_line, loss_text
from flows.reporting.wording import (
    ALWAYS_UNCHECKED,
    as_line,
    number,
    remarks,
    slowed_down,
    sums,
    unchecked,
)
from flows.verifier.field_differences import FieldDifference


def as_markdown(report: Report) -> str:
    """Return the report as a Markdown page: the verdict first, then the table, what was not checked, and each route."""
    lines = [
        f"# {plain(report.plan)}: {report.verdict}",
        "",
        prose(meaning(report)),
        "",
        "Next:",
        "",
        *(f"- {prose(step)}" for step in next_steps(report)),
        "",
    ]
    lines += [prose(closing_line(report)), ""]
    if report.routes:
        rows = [{name: plain(cell) for name, cell in cells(route, "markdown").items()} for route in report.routes]
        lines += table(rows, text_headings("markdown"))
    lines += ["## What was not checked", ""]
    lines.extend(f"- {prose(what)} ({plain(', '.join(routes))})" for what, routes in unchecked(report).items())
    lines += [*(f"- {sentence}" for sentence in ALWAYS_UNCHECKED), ""]
    for route in report.routes:
        lines += [f"## {plain(route.route)}", ""]
        lines.extend(f"- {prose(reason)}" for reason in route.reasons)
        lines.extend(f"- {as_line(route, equation)}" for equation in sums(route))
        lines.extend(f"- {prose(remark)}" for remark in remarks(route))
        lines.extend(
            f"- {plain(kind)} at {code(address)}" for kind, addresses in route.samples.items() for address in addresses
        )
        lines.extend(f"- {prose(loss_text(loss))}" for loss in route.lost)
        lines.extend(f"- rejected {number(count)} x {plain(name)}" for name, count in route.rejects.items())
        lines.extend([f"- {prose(slowdown)}"] if (slowdown := slowed_down(route)) else [])
        lines.append("")
        if route.differing is not None and route.differing.samples:
            lines += table([_difference_cells(sample) for sample in route.differing.samples])
    lines += ["## Circumstances", "", f"`{NOT_CHECKED}` means not checked. Fingerprint `{report.fingerprint}`,"]
    began, ended = (report.source.cluster_time_began or "none", report.source.cluster_time_ended or "none")
    lines += [
        f"from {report.started.isoformat(timespec='seconds')} to {report.finished.isoformat(timespec='seconds')},"
        f" report.json's SHA-256 `{report.digest()}`.",
        "",
        f"Source: {plain(report.source.version or 'version unknown')}; cluster time {plain(began)} to {plain(ended)}.",
        f"Versions: {plain(', '.join(f'{name} {version}' for name, version in report.versions.items()))}.",
        "",
        "Approved by (name, role, date, signature): ____________________________________________",
        "",
    ]
    return "\n".join(lines)


def _difference_cells(sample: FieldDifference) -> dict[str, str]:
    row = {"kind": plain(sample.kind), "path": code(sample.path or "(whole)"), "address": code(sample.address)}
    types = {"source type": sample.source_type, "maps to": sample.expected_type, "target holds": sample.found_type}
    row |= {name: plain(kind) for name, kind in types.items()}
    if sample.expected is not None:
        row |= {"value it maps to": code(sample.expected), "value held": code(sample.found or "")}
    return row
