"""A report as one HTML page that needs nothing else: no network, no script; to be read, printed and signed.

Every number of the books carries its place in report.json (`data-key`), so that a test can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.reporting.advice import next_steps
from flows.reporting.columns import columns
from flows.reporting.css import STYLE
from flows.reporting.headline import meaning
from flows.reporting.html_charts import route_charts
from flows.reporting.html_elements import (
    bullets,
    escaped,
    keyed_number,
    moment,
    number_class,
    prose,
    route_number,
    table,
)
from flows.reporting.html_tables import differences_tables, losses_table, mismatches_table, sums_list
from flows.reporting.model import Report, RouteReport, Verdict
from flows.reporting.wording import ALWAYS_UNCHECKED, number, remarks, seconds, unchecked

_VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    "clean": ("Clean", "good"),
    "pending": ("Copied, with changes pending", "care"),
    "rejects": ("Finished, with rejects", "care"),
    "mismatches": ("Mismatches", "bad"),
    "stopped": ("Stopped before the end", "bad"),
    "failed": ("Not finished", "bad"),
}
"""The words for each verdict, and its class."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """Return the page."""
    word, _ = _VERDICTS[report.verdict]
    body = [
        f"<header><h1>{escaped(report.plan)}</h1>",
        f'<p class="soft">offramp {escaped(report.command or "run")}, {moment(report.started.isoformat())},'
        f" {number(len(report.routes))} routes in {seconds(report.elapsed_s)}</p></header>",
        f'<main><section class="verdict {report.verdict}" aria-label="verdict">',
        f'<p class="word">{word}</p><p>{prose(meaning(report))}</p>',
        f"<p><b>Next:</b></p>{bullets([*map(prose, next_steps(report))])}</section>",
        _summary(report),
        _unchecked(report),
        *(_route(at, route) for at, route in enumerate(report.routes)),
        _circumstances(report),
        _history(report),
        _signature(report),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(report.plan)}: {report.verdict}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _summary(report: Report) -> str:
    if not report.routes:
        return ""
    summary = columns("html")
    head = [(name, False) for name in ("route", "verdict", "target")]
    head += [*((column.heading, True) for column in summary), ("verified", False)]
    lines = []
    for at, route in enumerate(report.routes):
        numbers = [f'<td class="n">{route_number(at, route, column.name)}</td>' for column in summary]
        lines.append(
            f'<tr><td><a href="#route-{at}">{escaped(route.route)}</a></td><td>{_verdict(route)}</td>'
            f"<td>{escaped(route.target)}</td>{''.join(numbers)}<td>{escaped(route.verified)}</td></tr>"
        )
    names = "".join(f'<th scope="col"{number_class(is_number)}>{name}</th>' for name, is_number in head)
    return (
        '<h2>Routes</h2><div class="scroll" role="region" aria-label="Routes" tabindex="0"><table><thead>'
        f"<tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="soft">– means not checked, never none.</p>'
    )


def _unchecked(report: Report) -> str:
    lines = [
        f'{prose(sentence)} <span class="soft">{escaped(", ".join(routes))}</span>'
        for sentence, routes in unchecked(report).items()
    ]
    return f"<h2>What was not checked</h2>{bullets([*lines, *map(prose, ALWAYS_UNCHECKED)])}"


def _route(at: int, route: RouteReport) -> str:
    place = f", read by clients at <code>{escaped(route.place)}</code>" if route.place else ""
    parts = [
        f'<section><h2 id="route-{at}">{escaped(route.route)}: {_verdict(route)}</h2>',
        f'<p class="soft">collection {escaped(route.collection)} to {escaped(route.target)}{place}; verified:'
        f" {escaped(route.verified)}</p>",
        bullets([escaped(line) for line in (*route.reasons, *remarks(route))]),
        "<h3>The books</h3>",
        sums_list(at, route),
        mismatches_table(at, route),
        differences_tables(at, route.differing),
        losses_table(at, route),
        f'<div class="charts">{"".join(route_charts(at, route))}</div></section>',
    ]
    return "\n".join(part for part in parts if part)


def _circumstances(report: Report) -> str:
    no_cluster_time = "none: the source is no replica set"
    facts = [
        ("plan", escaped(report.plan)),
        ("fingerprint of the plan", f"<code>{escaped(report.fingerprint)}</code>"),
        ("SHA-256 of report.json", f"<code>{report.digest()}</code>"),
        ("began", moment(report.started.isoformat())),
        ("ended", moment(report.finished.isoformat())),
        ("source database", escaped(report.source.database) or "–"),
        ("source version", escaped(report.source.version) or "–"),
        ("cluster time at the beginning", escaped(report.source.cluster_time_began) or no_cluster_time),
        ("cluster time at the end", escaped(report.source.cluster_time_ended) or no_cluster_time),
        ("versions", escaped(", ".join(f"{name} {version}" for name, version in report.versions.items())) or "–"),
    ]
    lines = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in facts)
    return f'<h2>Circumstances</h2><div class="scroll"><table class="facts"><tbody>{lines}</tbody></table></div>'


def _history(report: Report) -> str:
    if not report.history:
        return "<h2>Earlier runs of this plan</h2><p>None on record.</p>"
    lines = [
        (
            moment(run.began),
            escaped(run.command),
            escaped(run.verdict or "did not end"),
            keyed_number(f"history.{at}.read", run.read) if run.read is not None else "–",
            keyed_number(f"history.{at}.fastest", run.fastest) if run.fastest is not None else "–",
            f"<code>{escaped(run.sha256[:16]) or '–'}</code>",
        )
        for at, run in enumerate(report.history)
    ]
    names = ("began", "command", "verdict", "read", "copied a second, at most", "SHA-256 of its report.json")
    return "<h2>Earlier runs of this plan</h2>" + table(names, lines, right=names[3:5])


def _signature(report: Report) -> str:
    lines = "".join(f'<tr><th scope="row">{name}</th><td></td></tr>' for name in ("Name", "Role", "Date", "Signature"))
    return (
        f'<section class="signature"><h2>Approval</h2><p>I have read this report of the plan'
        f" {escaped(report.plan)}, whose verdict is <b>{report.verdict}</b>,"
        " and what was not checked. The report.json I approve has the SHA-256"
        f" <code>{report.digest()}</code>.</p><table><tbody>{lines}</tbody></table></section>"
    )


def _verdict(route: RouteReport) -> str:
    return f'<span class="{_VERDICTS[route.verdict][1]}">{route.verdict}</span>'
