"""What report.html shows of a route in words and numbers: its sums, mismatches, differences and losses."""

from __future__ import annotations

from flows.reporting.columns import columns
from flows.reporting.html_elements import codes, escaped, keyed_number, prose, route_number, table
from flows.reporting.model import RouteReport
from flows.reporting.wording import sums
from flows.verifier.field_differences import DifferenceSamples
from mappers.compare.differences import KINDS


def sums_list(key: str, route: RouteReport) -> str:
    """Return the sums of the route whose figures have this key in report.json, and whether each closes."""
    lines = []
    for equation in sums(route):
        terms = " + ".join(f"{route_number(key, route, name)} {name}" for name in equation.terms)
        closes = '<span class="good">closes</span>' if equation.closes else '<b class="bad">does not close</b>'
        lines.append(
            f"<li>{route_number(key, route, equation.total)} <b>{equation.total}</b> = {terms} · {closes}</li>"
        )
    if route.rejected:
        accepted = f"{route_number(key, route, 'accepted')} accepted by a person"
        left = f"{route_number(key, route, 'open_rejects')} accepted by nobody"
        lines.append(f"<li>{route_number(key, route, 'rejected')} <b>rejected</b>; on record: {accepted}, {left}</li>")
    return f'<ul class="sums">{"".join(lines)}</ul>'


def mismatches_table(key: str, route: RouteReport) -> str:
    """Return the number of each kind of mismatch, with what it means and a few addresses where there are any."""
    if route.missing is None and route.extra is None:
        return "<h3>Mismatches</h3><p>Not looked for.</p>"
    kinds = columns("mismatches")
    if not any(kind.value(route) for kind in kinds):
        counts = ", ".join(f"{route_number(key, route, kind.name)} {kind.heading}" for kind in kinds)
        return f"<h3>Mismatches</h3><p>{counts}.</p>"
    rows = [
        (kind.heading, route_number(key, route, kind.name), kind.meaning, codes(route.samples.get(kind.name, ())))
        for kind in kinds
    ]
    return "<h3>Mismatches</h3>" + table(
        ("kind", "records", "what it means", "addresses, a few"), rows, right=("records",)
    )


def differences_tables(key: str, differing: DifferenceSamples | None) -> str:
    """Return how many fields differ in which way, and samples of them; "" where no record was seen to differ."""
    if differing is None:
        return ""
    kinds = [
        (kind, keyed_number(f"{key}.differing.kinds.{kind}", differing.kinds[kind]), meaning)
        for kind, meaning in KINDS.items()
        if kind in differing.kinds
    ]
    with_values = any(sample.expected is not None for sample in differing.samples)
    headings = ["address", "path", "kind", "source type", "maps to", "target holds"]
    headings += ["value it maps to", "value held"] if with_values else []
    rows = []
    for sample in differing.samples:
        types = (sample.source_type, sample.expected_type, sample.found_type)
        values = (sample.expected or "", sample.found or "") if with_values else ()
        rows.append(
            [
                codes([sample.address]),
                codes([sample.path or "(whole)"]),
                escaped(sample.kind),
                *(escaped(name) or "–" for name in types),
                *(codes([value]) for value in values),
            ]
        )
    examined = keyed_number(f"{key}.differing.examined", differing.examined)
    examined_noun = "record that was" if differing.examined == 1 else "records that were"
    hint = "" if with_values else prose(" Values are not shown; `offramp verify PLAN --show-values` shows them.")
    return (
        f"<h3>How records differ</h3><p>In {examined} {examined_noun} examined.{hint}</p>"
        + table(("kind", "fields", "what it means"), kinds, right=("fields",))
        + table(headings, rows, long=("address", "path"))
    )


def losses_table(key: str, route: RouteReport) -> str:
    """Return the losses by field and kind, and whether the plan accepts them; "" for a route that lost nothing."""
    if not route.lost:
        return ""
    rows = [
        (
            codes([loss.field or "(whole document)"]),
            escaped(loss.kind),
            keyed_number(f"{key}.lost.{place}.count", loss.count),
            '<span class="good">accepted</span>' if loss.accepted else '<span class="bad">not accepted</span>',
            codes(loss.examples),
        )
        for place, loss in enumerate(route.lost)
    ]
    return "<h3>Values not kept exactly</h3>" + table(
        ("field", "loss", "values", "by the plan", "documents, a few"), rows, right=("values",)
    )
