"""A report as one HTML page that needs nothing else: no network, no script; to be read, printed and signed.

Every number of the books carries its place in report.json (`data-key`), so that a test can hold one against the other.
"""

from __future__ import annotations

from flows.quantities import counted, number, seconds
from flows.reporting.advice import Step, next_steps
from flows.reporting.css import STYLE
from flows.reporting.headline import meaning
from flows.reporting.html_elements import bullets, escaped, keyed_number, moment, prose, table
from flows.reporting.html_routes import VERDICT_WORDS, route_sections, summary
from flows.reporting.model import Report
from flows.reporting.wording import ALWAYS_UNCHECKED, canaries, server_text, unchecked

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """Return the page."""
    word, _ = VERDICT_WORDS[report.plan_verdict]
    about = counted(len(report.routes), "route")
    if report.others:
        about = (
            f"{number(len(report.routes))} of {counted(len(report.routes) + len(report.others), 'route')} of the plan"
        )
    body = [
        f"<header><h1>{escaped(report.plan)}</h1>",
        f'<p class="soft">offramp {escaped(report.command or "run")}, {moment(report.started.isoformat())},'
        f" {about} in {seconds(report.elapsed_s)}</p></header>",
        f'<main><section class="verdict {report.plan_verdict}" aria-label="verdict">',
        f'<p class="word">{word}</p><p>{escaped(meaning(report))}</p>',
        f"<p><b>Next:</b></p>{bullets([*map(_step, next_steps(report))])}</section>",
        summary(report),
        _canaries(report),
        _unchecked(report),
        *route_sections(report),
        _circumstances(report),
        _history(report),
        _signature(report),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(report.plan)}: {report.plan_verdict}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _step(step: Step) -> str:
    routes = f"{escaped(', '.join(step.routes))}: " if step.routes else ""
    return routes + prose(step.text)


def _canaries(report: Report) -> str:
    found = [escaped(sentence) for sentence in canaries(report)]
    return f"<h2>The verification itself</h2>{bullets(found)}" if found else ""


def _unchecked(report: Report) -> str:
    lines = [
        f'{prose(sentence)} <span class="soft">{escaped(", ".join(routes))}</span>'
        for sentence, routes in unchecked(report).items()
    ]
    return f"<h2>What was not checked</h2>{bullets([*lines, *map(prose, ALWAYS_UNCHECKED)])}"


def _circumstances(report: Report) -> str:
    no_cluster_time = "none: the source is no replica set"
    facts = [
        ("plan", escaped(report.plan)),
        ("fingerprint of the plan", f"<code>{escaped(report.fingerprint)}</code>"),
        ("SHA-256 of report.json", f"<code>{report.digest()}</code>"),
        ("began", moment(report.started.isoformat())),
        ("ended", moment(report.finished.isoformat())),
        ("source", f"{escaped(report.source.server) or '–'}, database {escaped(report.source.database) or '–'}"),
        ("source version", escaped(report.source.version) or "–"),
        *((f"target {escaped(server.target)}", escaped(server_text(server)) or "–") for server in report.servers),
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
    part = ""
    if report.others:
        named = escaped(", ".join(row.route for row in report.routes))
        part = f" (this run was about {named} alone; the other routes are shown as they were last found)"
    lines = "".join(f'<tr><th scope="row">{name}</th><td></td></tr>' for name in ("Name", "Role", "Date", "Signature"))
    return (
        f'<section class="signature"><h2>Approval</h2><p>I have read this report of the plan'
        f" {escaped(report.plan)}, whose verdict is <b>{report.plan_verdict}</b>{part},"
        " and what was not checked. The report.json I approve has the SHA-256"
        f" <code>{report.digest()}</code>.</p><table><tbody>{lines}</tbody></table></section>"
    )
