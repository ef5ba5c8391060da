"""A report as one HTML page that needs nothing else: no network, no script; to be read, printed and signed.

Every number of the books carries its place in report.json (`data-key`), so that a test can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from flows.connect.progress import Throughput
from flows.reporting import svg_charts as charts
from flows.reporting.columns import columns
from flows.reporting.css import STYLE
from flows.reporting.model import Report, RouteReport
from flows.reporting.wording import (
    ALWAYS_UNCHECKED,
    held_back,
    meaning,
    next_step,
    number,
    said,
    seconds,
    size,
    sums,
    unchecked,
    visible,
)
from flows.verifier.field_differences import DifferenceSamples
from mappers.compare.differences import KINDS

_FEWEST_STRETCHES = 4
"""Fewer points of time make no picture."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WORDS = {
    "clean": ("Clean", "good"),
    "rejects": ("Finished, with rejects", "care"),
    "mismatches": ("Mismatches", "bad"),
    "failed": ("Not finished", "bad"),
}


def as_html(report: Report) -> str:
    """Return the page."""
    word, _ = _WORDS[report.verdict]
    body = [
        f"<header><h1>{_text(report.plan)}</h1>",
        f'<p class="soft">offramp {_text(report.command or "run")}, {_moment(report.started.isoformat())},'
        f" {number(len(report.routes))} routes in {seconds(report.elapsed_s)}</p></header>",
        f'<main><section class="verdict {report.verdict}" aria-label="verdict">',
        f'<p class="word">{word}</p><p>{_told(meaning(report))}</p>',
        f"<p><b>Next:</b> {_told(next_step(report))}</p></section>",
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
        f"<title>{_text(report.plan)}: {report.verdict}</title><style>{STYLE}</style></head>\n<body>\n"
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
        numbers = [f'<td class="n">{_number(at, route, column.name)}</td>' for column in summary]
        lines.append(
            f'<tr><td><a href="#route-{at}">{_text(route.route)}</a></td><td>{_verdict(route)}</td>'
            f"<td>{_text(route.target)}</td>{''.join(numbers)}<td>{_text(route.verified)}</td></tr>"
        )
    names = "".join(f'<th scope="col"{_right(is_number)}>{name}</th>' for name, is_number in head)
    return (
        '<h2>Routes</h2><div class="scroll" role="region" aria-label="Routes" tabindex="0"><table><thead>'
        f"<tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="soft">– means not checked, never none.</p>'
    )


def _unchecked(report: Report) -> str:
    lines = [
        f'{_told(sentence)} <span class="soft">{_text(", ".join(routes))}</span>'
        for sentence, routes in unchecked(report).items()
    ]
    return f"<h2>What was not checked</h2>{_list([*lines, *map(_told, ALWAYS_UNCHECKED)])}"


def _route(at: int, route: RouteReport) -> str:
    place = f", read by clients at <code>{_text(route.place)}</code>" if route.place else ""
    parts = [
        f'<section><h2 id="route-{at}">{_text(route.route)}: {_verdict(route)}</h2>',
        f'<p class="soft">collection {_text(route.collection)} to {_text(route.target)}{place}; verified:'
        f" {_text(route.verified)}</p>",
        _list([_text(told) for told in (*route.reasons, *said(route))]),
        "<h3>The books</h3>",
        _sums(at, route),
        _mismatches(at, route),
        _differing(at, route.differing),
        _losses(at, route),
        f'<div class="charts">{"".join(_charts(at, route))}</div></section>',
    ]
    return "\n".join(part for part in parts if part)


def _sums(at: int, route: RouteReport) -> str:
    lines = []
    for one in sums(route):
        terms = " + ".join(f"{_number(at, route, name)} {name}" for name in one.terms)
        closes = '<span class="good">closes</span>' if one.closes else '<b class="bad">does not close</b>'
        lines.append(f"<li>{_number(at, route, one.total)} <b>{one.total}</b> = {terms} · {closes}</li>")
    if route.rejected:
        of_them = f"{_number(at, route, 'accepted')} accepted by a person"
        lines.append(f"<li>{_number(at, route, 'rejected')} <b>rejected</b>, of them {of_them}</li>")
    return f'<ul class="sums">{"".join(lines)}</ul>'


def _mismatches(at: int, route: RouteReport) -> str:
    if route.missing is None and route.extra is None:
        return "<h3>Mismatches</h3><p>Not looked for.</p>"
    lines = [
        (
            kind.heading,
            _number(at, route, kind.name),
            kind.meaning,
            "<br>".join(f"<code>{_text(address)}</code>" for address in route.samples.get(kind.name, ())),
        )
        for kind in columns("mismatches")
    ]
    if not any(kind.value(route) for kind in columns("mismatches")):
        counts = ", ".join(f"{_number(at, route, kind.name)} {kind.heading}" for kind in columns("mismatches"))
        return f"<h3>Mismatches</h3><p>{counts}.</p>"
    return "<h3>Mismatches</h3>" + _table(
        ("kind", "records", "what it means", "addresses, a few"), lines, right=("records",)
    )


def _differing(at: int, differing: DifferenceSamples | None) -> str:
    if differing is None:
        return ""
    kinds = [
        (kind, _data(f"routes.{at}.differing.kinds.{kind}", differing.kinds[kind]), text)
        for kind, text in KINDS.items()
        if kind in differing.kinds
    ]
    values = any(one.expected is not None for one in differing.samples)
    names = ["address", "path", "kind", "source type", "maps to", "target holds"]
    names += ["value it maps to", "value held"] if values else []
    lines = []
    for one in differing.samples:
        cells = [f"<code>{_text(one.address)}</code>", f"<code>{_text(one.path) or '(whole)'}</code>", one.kind]
        cells += [_text(told) or "–" for told in (one.source_type, one.expected_type, one.found_type)]
        cells += [f"<code>{_text(told or '')}</code>" for told in (one.expected, one.found)] if values else []
        lines.append(cells)
    hint = "" if values else _told(" Values are not shown; `offramp verify PLAN --show-values` shows them.")
    return (
        "<h3>How records differ</h3>"
        f"<p>In {_data(f'routes.{at}.differing.examined', differing.examined)} records that were looked into.{hint}</p>"
        + _table(("kind", "fields", "what it means"), kinds, right=("fields",))
        + _table(names, lines, long=("address", "path"))
    )


def _losses(at: int, route: RouteReport) -> str:
    if not route.lost:
        return ""
    lines = [
        (
            f"<code>{_text(loss.field) or '(whole document)'}</code>",
            _text(loss.kind),
            _data(f"routes.{at}.lost.{number_}.count", loss.count),
            '<span class="good">accepted</span>' if loss.accepted else '<span class="bad">not accepted</span>',
            "<br>".join(f"<code>{_text(one)}</code>" for one in loss.examples),
        )
        for number_, loss in enumerate(route.lost)
    ]
    return "<h3>Values not kept exactly</h3>" + _table(
        ("field", "loss", "values", "by the plan", "documents, a few"), lines, right=("values",)
    )


def _charts(at: int, route: RouteReport) -> Iterable[str]:
    for which, series in enumerate(route.throughput):
        yield _over_time(at, which, series)
    if route.sizes:
        least = [int(one) for one in route.sizes]
        classes = [1 << bits for bits in range(min(least).bit_length() - 1, max(least).bit_length())]
        counts = [route.sizes.get(str(one), 0) for one in classes]
        told = [
            (size(one), _data(f"routes.{at}.sizes.{one}", count))
            for one, count in zip(classes, counts, strict=True)
            if count
        ]
        drawing = charts.columns("Documents by size", [size(one) for one in classes], counts, "documents")
        yield _figure("Documents by size, as stored in the source", drawing, told)
    stages = {"backfill_s": "copying", "verify_s": "verifying"}
    took = {name: value for name in stages if (value := getattr(route, name)) is not None}
    if took:
        words = [seconds(value) for value in took.values()]
        drawing = charts.rows("Time per stage in seconds", [stages[name] for name in took], [*took.values()], words)
        told = [(stages[name], _data(f"routes.{at}.{name}", value) + " s") for name, value in took.items()]
        yield _figure("Time per stage", drawing, told, held_back(route))
    bad = {("rejected", code): count for code, count in route.rejects.items()}
    bad |= {("lost", kind): count for kind, count in route.losses.items()}
    if bad:
        names = [f"{what}: {kind}" for what, kind in bad]
        drawing = charts.rows(
            "Rejects and losses by kind", names, [*bad.values()], [number(one) for one in bad.values()]
        )
        key = {"rejected": "rejects", "lost": "losses"}
        told = [
            (f"{what}: {_text(kind)}", _data(f"routes.{at}.{key[what]}.{kind}", count))
            for (what, kind), count in bad.items()
        ]
        yield _figure("Rejects and losses by kind", drawing, told)


def _over_time(at: int, which: int, series: Throughput) -> str:
    rates = [documents / series.width_s for documents in series.documents]
    total_s = series.width_s * len(rates)
    unit, each = ("minutes", 60.0) if total_s > 300 else ("seconds", 1.0)
    steps = charts.Steps(series.width_s / each, rates)
    drawing = charts.over_time(f"{series.stage}: documents a second", steps, f"{unit} since the first", "documents / s")
    words = (
        f"{number(round(sum(series.documents) / total_s))} a second on average,"
        f" {number(round(max(rates)))} at most, in stretches of {series.width_s:g}\N{NO-BREAK SPACE}s"
    )
    told = [
        (f"{place * series.width_s:g}", _data(f"routes.{at}.throughput.{which}.documents.{place}", documents))
        for place, documents in enumerate(series.documents)
    ]
    table = _table(("second", "documents"), told, right=("second", "documents"))
    return (
        f"<figure><figcaption><b>Documents a second: {_text(series.stage)}</b></figcaption>"
        f"{drawing if len(rates) >= _FEWEST_STRETCHES else _soft('Too short for a chart.')}<p class=told>{words}</p>"
        f"<details><summary>The numbers</summary>{table}</details></figure>"
    )


def _figure(title: str, drawing: str, told: Iterable[tuple[str, str]], more: str = "") -> str:
    """Return a chart under its title, with each of its numbers in words."""
    words = " · ".join(f"<span>{name}: {value}</span>" for name, value in told)
    return f"<figure><figcaption><b>{title}</b></figcaption>{drawing}<p class=told>{words}</p>{_soft(more)}</figure>"


def _soft(words: str) -> str:
    return f'<p class="told soft">{_text(words)}</p>' if words else ""


def _circumstances(report: Report) -> str:
    facts = [
        ("plan", _text(report.plan)),
        ("fingerprint of the plan", f"<code>{_text(report.fingerprint)}</code>"),
        ("SHA-256 of report.json", f"<code>{report.digest()}</code>"),
        ("began", _moment(report.started.isoformat())),
        ("ended", _moment(report.finished.isoformat())),
        ("source database", _text(report.source.database) or "–"),
        ("source version", _text(report.source.version) or "–"),
        ("cluster time at the begin", _text(report.source.cluster_time_began) or "none: the source is no replica set"),
        ("cluster time at the end", _text(report.source.cluster_time_ended) or "none: the source is no replica set"),
        ("versions", _text(", ".join(f"{name} {version}" for name, version in report.versions.items())) or "–"),
    ]
    lines = "".join(f'<tr><th scope="row">{name}</th><td>{told}</td></tr>' for name, told in facts)
    return f'<h2>Circumstances</h2><div class="scroll"><table class="facts"><tbody>{lines}</tbody></table></div>'


def _history(report: Report) -> str:
    if not report.history:
        return "<h2>Earlier runs of this plan</h2><p>None on record.</p>"
    lines = [
        (
            _moment(run.began),
            _text(run.command),
            _text(run.verdict or "did not end"),
            _data(f"history.{at}.read", run.read) if run.read is not None else "–",
            _data(f"history.{at}.fastest", run.fastest) if run.fastest is not None else "–",
            f"<code>{_text(run.sha256[:16]) or '–'}</code>",
        )
        for at, run in enumerate(report.history)
    ]
    names = ("began", "command", "verdict", "read", "copied a second, at most", "SHA-256 of its report.json")
    return "<h2>Earlier runs of this plan</h2>" + _table(names, lines, right=names[3:5])


def _signature(report: Report) -> str:
    lines = "".join(f'<tr><th scope="row">{name}</th><td></td></tr>' for name in ("Name", "Role", "Date", "Signature"))
    return (
        f'<section class="signature"><h2>Approval</h2><p>I have read this report of the plan'
        f" {_text(report.plan)}, whose verdict is <b>{report.verdict}</b>,"
        " and what was not checked. The report.json I approve has the SHA-256"
        f" <code>{report.digest()}</code>.</p><table><tbody>{lines}</tbody></table></section>"
    )


def _verdict(route: RouteReport) -> str:
    return f'<span class="{_WORDS[route.verdict][1]}">{route.verdict}</span>'


def _number(at: int, route: RouteReport, name: str) -> str:
    value = getattr(route, name)
    return '<abbr title="not checked">–</abbr>' if value is None else _data(f"routes.{at}.{name}", value)


def _data(key: str, value: float) -> str:
    words = number(value) if isinstance(value, int) else f"{value:g}"
    return f'<data data-key="{escape(key, quote=True)}" value="{value}">{words}</data>'


def _table(
    names: Sequence[str], lines: Iterable[Sequence[str]], *, right: Sequence[str] = (), long: Sequence[str] = ()
) -> str:
    head = "".join(f'<th scope="col"{_right(name in right)}>{name}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_right(name in right) or (' class=long' if name in long else '')}>{cell}</td>"
            for name, cell in zip(names, line, strict=True)
        )
        + "</tr>"
        for line in lines
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(yes: bool) -> str:
    return ' class="n"' if yes else ""


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""


def _told(sentence: str) -> str:
    """Return our own words, with what stands between backticks as code."""
    pieces = _text(sentence).split("`")
    return "".join(_command(piece) if at % 2 else piece for at, piece in enumerate(pieces))


def _command(words: str) -> str:
    """Return code that breaks between its words only."""
    return f"<code>{' '.join(f'<span>{word}</span>' for word in words.split())}</code>"


def _moment(iso: str) -> str:
    return escape(iso[:19].replace("T", " ") + " UTC")


def _text(words: str) -> str:
    return escape(visible(words))
