"""What report.html shows of a route as charts: throughput, sizes, times, rejects and losses, each with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flows.connect.progress import Throughput
from flows.quantities import number, seconds
from flows.reporting import svg_charts
from flows.reporting.html_elements import escaped, keyed_number, table
from flows.reporting.model import RouteReport
from flows.reporting.wording import size, slowed_down

_FEWEST_STRETCHES = 4
"""Fewer points of time make no picture."""


def route_charts(key: str, route: RouteReport) -> Iterator[str]:
    """Yield each chart for which the route whose figures have this key in report.json has numbers."""
    for place, series in enumerate(route.throughput):
        yield _throughput(f"{key}.throughput.{place}", series)
    if route.sizes:
        yield _sizes(key, route)
    stages = {"backfill_s": "copying", "verify_s": "verifying"}
    times = {name: value for name in stages if (value := getattr(route, name)) is not None}
    if times:
        drawing = svg_charts.rows(
            "Time per stage in seconds",
            [stages[name] for name in times],
            [*times.values()],
            [seconds(value) for value in times.values()],
        )
        numbers = [(stages[name], keyed_number(f"{key}.{name}", value) + " s") for name, value in times.items()]
        yield _figure("Time per stage", drawing, numbers, slowed_down(route))
    if route.rejects or route.losses:
        yield _rejects_and_losses(key, route)


def _throughput(key: str, series: Throughput) -> str:
    rates = [documents / series.width_s for documents in series.documents]
    total_s = series.width_s * len(rates)
    unit, unit_s = ("minutes", 60.0) if total_s > 300 else ("seconds", 1.0)
    drawing = svg_charts.over_time(
        f"{series.stage}: documents a second",
        svg_charts.Steps(series.width_s / unit_s, rates),
        f"{unit} since the first",
        "documents / s",
    )
    summary = (
        f"{number(round(sum(series.documents) / total_s))} a second on average,"
        f" {number(round(max(rates)))} at most, in stretches of {series.width_s:g}\N{NO-BREAK SPACE}s"
    )
    rows = [
        (f"{place * series.width_s:g}", keyed_number(f"{key}.documents.{place}", documents))
        for place, documents in enumerate(series.documents)
    ]
    return (
        f"<figure><figcaption><b>Documents a second: {escaped(series.stage)}</b></figcaption>"
        f"{drawing if len(rates) >= _FEWEST_STRETCHES else _soft('Too short for a chart.')}"
        f"<p class=numbers>{summary}</p><details><summary>The numbers</summary>"
        f"{table(('second', 'documents'), rows, right=('second', 'documents'))}</details></figure>"
    )


def _sizes(key: str, route: RouteReport) -> str:
    known = [int(least_bytes) for least_bytes in route.sizes]
    classes = [1 << bits for bits in range(min(known).bit_length() - 1, max(known).bit_length())]
    counts = [route.sizes.get(str(least_bytes), 0) for least_bytes in classes]
    numbers = [
        (size(least_bytes), keyed_number(f"{key}.sizes.{least_bytes}", count))
        for least_bytes, count in zip(classes, counts, strict=True)
        if count
    ]
    drawing = svg_charts.columns("Documents by size", [*map(size, classes)], counts, "documents")
    return _figure("Documents by size, as stored in the source", drawing, numbers)


def _rejects_and_losses(key: str, route: RouteReport) -> str:
    counts = [("rejected", "rejects", code, count) for code, count in route.rejects.items()]
    counts += [("lost", "losses", kind, count) for kind, count in route.losses.items()]
    drawing = svg_charts.rows(
        "Rejects and losses by kind",
        [f"{what}: {kind}" for what, _, kind, _ in counts],
        [count for *_, count in counts],
        [number(count) for *_, count in counts],
    )
    numbers = [
        (f"{what}: {escaped(kind)}", keyed_number(f"{key}.{part}.{kind}", count)) for what, part, kind, count in counts
    ]
    return _figure("Rejects and losses by kind", drawing, numbers)


def _figure(title: str, drawing: str, numbers: Iterable[tuple[str, str]], note: str = "") -> str:
    """Return a chart under its title, with each of its numbers in words."""
    words = " · ".join(f"<span>{name}: {value}</span>" for name, value in numbers)
    return f"<figure><figcaption><b>{title}</b></figcaption>{drawing}<p class=numbers>{words}</p>{_soft(note)}</figure>"


def _soft(words: str) -> str:
    return f'<p class="numbers soft">{escaped(words)}</p>' if words else ""
