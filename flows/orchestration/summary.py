"""What Prefect is shown of a run: names of the plan, figures and error codes, and nothing that a document holds.

An `_id`, an address, a field's name, a value and the text of an error may all come from a document. Whatever Prefect is
given, everyone who sees its server may read, for as long as the server keeps it. So the texts here are made of figures;
the report's files have the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from flows.connect.lease_renewal import LEASE_HELD
from flows.error_codes import CATALOGUE
from flows.quantities import counted, number, some_of
from flows.reporting.columns import cells, text_headings
from flows.reporting.markdown_text import code, plain, prose, table
from flows.reporting.model import Report, RouteReport
from flows.reporting.rules import MISMATCH_REASONS
from stores.errors import OfframpError, origin

_UNPROVEN: Mapping[str, str] = {
    "unsettled": "their documents kept changing, or sync had not come so far",
    "inconclusive": "the target did not answer for them",
}
_UNEXPLAINED: Mapping[str, str] = {"pending": "its source has changed since it was copied; a sync follows"}
_FIGURES = (
    *("route", "collection", "target", "documents", "read", "dropped", "rejected", "copied", "records", "held"),
    *("missing", "differs", "extra", "collides", "expired", "losses", "verdict", "verified", "backfill_s", "verify_s"),
    *("sync", "unsettled", "inconclusive", "figures"),
)
"""The fields of a route's report that hold names of the plan and figures; a new field is not shown until it is here."""
_CODE = re.compile(r"\b[EW]-[A-Z0-9]+(?:-[A-Z0-9]+)*\b")
_KIND = re.compile(r"[a-z][a-z0-9_ ]{0,39}")
_MOST_ROUTES = 5
"""Routes that a headline names; Prefect shows it in one line."""


def figures(route: RouteReport) -> RouteReport:
    """Return the route's report with nothing in it but names of the plan and figures."""
    return RouteReport(**{name: getattr(route, name) for name in _FIGURES})


def findings(route: RouteReport) -> list[str]:
    """Return why the route is not clean, a sentence for each kind of finding; none for a clean one."""
    if route.verdict == "clean":
        return []
    sentences = [
        f"{number(count)} {kind}: {meaning}"
        for kind, meaning in {**MISMATCH_REASONS, **_UNPROVEN}.items()
        if (count := getattr(route, kind))
    ]
    sentences += [f"{number(count)} rejected: {name}" for name, count in _rejects(route).items()]
    sentences += [f"{counted(count, 'value')} not kept exactly: {kind}" for kind, count in _unaccepted(route).items()]
    sentences += [f"{name}: {_meaning(name)}" for name in known_codes(route.reasons)]
    return sentences or [_UNEXPLAINED.get(route.verdict, "the report says why")]


def headline(report: Report) -> str:
    """Return the verdict in one line, with the findings of the first few routes that are not clean."""
    unclean = [route for route in report.routes if route.verdict != "clean"]
    clean = len(report.routes) - len(unclean)
    parts = [f"verdict {report.verdict}: {number(clean)} of {counted(len(report.routes), 'route')} clean"]
    parts += [f"{route.route}: {route.verdict} ({_brief(route)})" for route in unclean[:_MOST_ROUTES]]
    if len(unclean) > _MOST_ROUTES:
        parts.append(f"{len(unclean) - _MOST_ROUTES} more")
    return "; ".join(parts)


def skipped_routes(report: Report) -> list[str]:
    """Return the routes of a sync that were left to another run at work on them."""
    return [route.route for route in report.routes if [*route.codes] == [LEASE_HELD]]


def sync_headline(report: Report, skipped: Sequence[str]) -> str:
    """Return in one line that the other routes are synced, and which were skipped."""
    synced = len(report.routes) - len(skipped)
    routes = f"{number(synced)} of {counted(len(report.routes), 'route')}"
    return f"{routes} synced; skipped, as another run is at work: {some_of(skipped[:_MOST_ROUTES], len(skipped))}"


def error_line(error: BaseException) -> str:
    """Return an error in one line: its code with the catalogue's meaning, or where an unexpected one came from."""
    if not isinstance(error, OfframpError):
        return f"E-INTERNAL unexpected {origin(error)}"
    if error.code not in CATALOGUE:  # Of a target that somebody wrote.
        return _shaped(_CODE, error.code)
    within = [name for name in known_codes([error.message]) if name != error.code]
    more = f" ({', '.join(within)})" if within else ""
    return f"{error.code}: {_meaning(error.code)}{more}"


def known_codes(texts: Iterable[str]) -> list[str]:
    """Return the codes of the catalogue that the texts name, each once."""
    return list(dict.fromkeys(name for text in texts for name in _CODE.findall(text) if name in CATALOGUE))


def as_page(report: Report, files: Sequence[str]) -> str:
    """Return the page of a run as Markdown: the headline, the table, the findings, and where the report is."""
    lines = [f"# {plain(report.plan)}: {report.verdict}", "", prose(headline(report)), ""]
    if report.routes:
        rows = [cells(figures(route), "markdown") for route in report.routes]
        lines += table(
            [{name: plain(cell) for name, cell in row.items()} for row in rows], left=text_headings("markdown")
        )
    for route in report.routes:
        if sentences := findings(route):
            lines += [f"## {plain(route.route)}", "", *(f"- {prose(sentence)}" for sentence in sentences), ""]
    lines += [f"Report: {', '.join(code(name) for name in files)}", ""] if files else []
    lines += [f"SHA-256 of report.json: `{report.digest()}`", ""]
    return "\n".join(lines)


def _brief(route: RouteReport) -> str:
    parts = [f"{number(count)} {kind}" for kind in (*MISMATCH_REASONS, *_UNPROVEN) if (count := getattr(route, kind))]
    parts += [f"{number(count)} rejected {name}" for name, count in _rejects(route).items()]
    parts += [f"{number(count)} {kind} lost" for kind, count in _unaccepted(route).items()]
    parts += known_codes(route.reasons)
    return ", ".join(parts) or ("changes to sync" if route.verdict == "pending" else "see the report")


def _rejects(route: RouteReport) -> Mapping[str, int]:
    """Return the rejects by code; a mapper that somebody wrote has codes of its own."""
    by_code: Counter[str] = Counter()
    for reject_code, count in route.rejects.items():
        by_code[_shaped(_CODE, reject_code)] += count
    if not by_code and route.rejected:
        by_code["see the report"] = route.rejected
    return by_code


def _unaccepted(route: RouteReport) -> Mapping[str, int]:
    by_kind: Counter[str] = Counter()
    for loss in route.lost:
        if not loss.accepted:
            by_kind[_shaped(_KIND, loss.kind)] += loss.count
    return by_kind


def _meaning(name: str) -> str:
    return CATALOGUE[name].meaning


def _shaped(shape: re.Pattern[str], name: str) -> str:
    return name if shape.fullmatch(name) else "of another kind"
