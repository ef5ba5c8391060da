"""A report as Markdown, for artifacts and for report.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.reporting.advice import next_steps
from flows.reporting.columns import NOT_CHECKED, cells, text_headings
from flows.reporting.headline import meaning
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
from flows.visible_text import visible


def as_markdown(report: Report) -> str:
    """Return the report as a Markdown page: the verdict first, then the table, what was not checked, and each route."""
    lines = [
        f"# {_plain(report.plan)}: {report.verdict}",
        "",
        meaning(report),
        "",
        "Next:",
        "",
        *(f"- {step}" for step in next_steps(report)),
        "",
    ]
    lines += [closing_line(report), ""]
    if report.routes:
        rows = [cells(route, "markdown") for route in report.routes]
        lines += _markdown_table(rows, text_headings("markdown"))
    lines += ["## What was not checked", ""]
    lines.extend(f"- {_plain(what)} ({_plain(', '.join(routes))})" for what, routes in unchecked(report).items())
    lines += [*(f"- {sentence}" for sentence in ALWAYS_UNCHECKED), ""]
    for route in report.routes:
        lines += [f"## {_plain(route.route)}", ""]
        lines.extend(f"- {_plain(reason)}" for reason in route.reasons)
        lines.extend(f"- {as_line(route, equation)}" for equation in sums(route))
        lines.extend(f"- {_plain(remark)}" for remark in remarks(route))
        lines.extend(
            f"- {kind} at {_code(address)}" for kind, addresses in route.samples.items() for address in addresses
        )
        lines.extend(f"- {_plain(loss_text(loss))}" for loss in route.lost)
        lines.extend(f"- rejected {number(count)} x {_plain(code)}" for code, count in route.rejects.items())
        lines.extend([f"- {slowdown}"] if (slowdown := slowed_down(route)) else [])
        lines.append("")
        if route.differing is not None and route.differing.samples:
            lines += _markdown_table([_difference_cells(sample) for sample in route.differing.samples])
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


def _difference_cells(sample: FieldDifference) -> dict[str, str]:
    row = {"kind": sample.kind, "path": _code(sample.path or "(whole)"), "address": _code(sample.address)}
    row |= {"source type": sample.source_type, "maps to": sample.expected_type, "target holds": sample.found_type}
    if sample.expected is not None:
        row |= {"value it maps to": _code(sample.expected), "value held": _code(sample.found or "")}
    return row


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{visible(text).replace('`', ' ')}`"
