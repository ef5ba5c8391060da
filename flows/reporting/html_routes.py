"""The routes on the page of a report: a table of all, then a section of each, the worst first and clean ones folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flows.quantities import counted, number
from flows.reporting.columns import columns, total
from flows.reporting.entries import Entry, entries, without_verdict
from flows.reporting.html_charts import route_charts
from flows.reporting.html_elements import bullets, escaped, number_class, prose, route_number
from flows.reporting.html_tables import differences_tables, losses_table, mismatches_table, sums_list
from flows.reporting.model import Report, RouteReport, Verdict
from flows.reporting.wording import remarks

VERDICT_WORDS: Mapping[Verdict, tuple[str, str]] = {
    "clean": ("Clean", "good"),
    "pending": ("Copied, with changes pending", "care"),
    "rejects": ("Finished, with rejects", "care"),
    "mismatches": ("Mismatches", "bad"),
    "stopped": ("Stopped before the end", "bad"),
    "failed": ("Not finished", "bad"),
}
"""The words for each verdict, and its class."""


def summary(report: Report) -> str:
    """Return the table of every route of the plan, with the sums over all of them; "" for a report without routes."""
    shown, unknown = entries(report), without_verdict(report)
    if not shown:
        return ""
    numbers = columns("html")
    head = [(name, False) for name in ("route", "verdict", "target")]
    head += [*((column.heading, True) for column in numbers), ("verified", False)]
    lines = []
    for at, entry in enumerate(shown):
        row = entry.row
        cells = [f'<td class="n">{route_number(entry.key, row, column.name)}</td>' for column in numbers]
        lines.append(
            f'<tr><td><a href="#route-{at}">{escaped(row.route)}</a></td><td>{_verdict(row)}</td>'
            f"<td>{escaped(row.target)}</td>{''.join(cells)}<td>{escaped(row.verified)}</td></tr>"
        )
    lines += [
        f'<tr><td>{escaped(other.route)}</td><td colspan="{len(head) - 1}"><span class="bad">no verdict</span>:'
        f" {escaped(other.void)}</td></tr>"
        for other in unknown
    ]
    names = "".join(f'<th scope="col"{number_class(is_number)}>{name}</th>' for name, is_number in head)
    rows = [entry.row for entry in shown]
    clean = sum(row.verdict == "clean" for row in rows)
    sums = "".join(f'<td class="n">{_sum(rows, column.name)}</td>' for column in numbers)
    every = number(len(shown) + len(unknown))
    foot = f"<tr><td>total</td><td>{number(clean)} of {every} clean</td><td></td>{sums}<td></td></tr>"
    return (
        '<h2>Routes</h2><div class="scroll" role="region" aria-label="Routes" tabindex="0"><table><thead>'
        f"<tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody><tfoot>{foot}</tfoot></table></div>"
        '<p class="soft">– means not checked, never none.</p>'
    )


def _sum(rows: list[RouteReport], name: str) -> str:
    whole = total([row.figure(name) for row in rows])
    return "–" if whole is None else number(whole)


def route_sections(report: Report) -> Iterator[str]:
    """Yield the section of each route, the worst first; that of a clean route is a line that opens."""
    for at, entry in enumerate(entries(report)):
        yield _clean_section(at, entry) if entry.row.verdict == "clean" else _section(at, entry)


def _section(at: int, entry: Entry) -> str:
    row = entry.row
    lines = [prose(line) for line in (*row.reasons, *remarks(row))]
    return (
        f'<section><h2 id="route-{at}">{escaped(row.route)}: {_verdict(row)}</h2>{_about(entry)}{bullets(lines)}'
        f"{_figures(entry)}</section>"
    )


def _clean_section(at: int, entry: Entry) -> str:
    row = entry.row
    held = "" if row.held is None else f", {counted(row.held, 'record')} held"
    documents = "" if row.documents is None else f"{counted(row.documents, 'document')}{held}, "
    return (
        f'<section class="clean"><details class="route" id="route-{at}"><summary><b>{escaped(row.route)}</b>:'
        f" {_verdict(row)}, {documents}verified: {escaped(row.verified)}</summary>{_figures(entry)}</details>"
        f"{_about(entry)}{bullets([prose(line) for line in remarks(row)])}</section>"
    )


def _about(entry: Entry) -> str:
    row = entry.row
    place = f", {escaped(row.location)}" if row.location else ""
    place += f", read by clients at <code>{escaped(row.place)}</code>" if row.place else ""
    found = f"; {escaped(entry.found)}" if entry.found else ""
    return (
        f'<p class="soft">collection {escaped(row.collection)} to {escaped(row.target)}{place}; verified:'
        f" {escaped(row.verified)}{found}</p>"
    )


def _figures(entry: Entry) -> str:
    key, row = entry.key, entry.row
    parts = [
        "<h3>The books</h3>",
        sums_list(key, row),
        mismatches_table(key, row),
        differences_tables(key, row.differing),
        losses_table(key, row),
        f'<div class="charts">{"".join(route_charts(key, row))}</div>',
    ]
    return "\n".join(part for part in parts if part)


def _verdict(row: RouteReport) -> str:
    return f'<span class="{VERDICT_WORDS[row.verdict][1]}">{row.verdict}</span>'
