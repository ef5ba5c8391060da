"""A report for a terminal: its table, the lines of each route, and the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence

from flows.quantities import counted, named, number, seconds
from flows.reporting.advice import next_steps
from flows.reporting.columns import NOT_CHECKED, SPARE, Place, cells, text_headings, total_cells
from flows.reporting.entries import entries
from flows.reporting.headline import meaning
from flows.reporting.model import FieldLoss, PastRun, Report
from flows.reporting.wording import canaries, remarks, slowed_down
from flows.visible_text import visible


def table(
    rows: Sequence[Mapping[str, str]], left: Iterable[str], width: int | None = None, spare: Sequence[str] = ()
) -> list[str]:
    """Return rows of cells as lines under their names; columns named in `left` are aligned to the left.

    A table that is wider than `width` columns has no column of figures that are the same in all rows, 0 or not known,
    then none of the columns `spare`, the first of them first, until it fits; they are named below it. One that is still
    wider has a paragraph for each row instead.
    """
    rows = [{name: visible(cell) for name, cell in row.items()} for row in rows]
    words = set(left)
    lines = _columns(rows, words)
    if width is None or _width(lines) <= width:
        return lines
    below: list[str] = []
    for cell, meaning_ in (("0", "0 in each"), (NOT_CHECKED, "not known of any")):
        same = [name for name in rows[0] if name not in words and all(row[name] == cell for row in rows)]
        rows = _without(rows, same)
        below += textwrap.wrap(f"{meaning_}: {', '.join(same)}", width) if same else []
    for many in range(len(spare) + 1):
        lines = _columns(_without(rows, spare[:many]), words)
        if _width(lines) <= width:
            hidden = [name for name in rows[0] if name in spare[:many]]
            return lines + textwrap.wrap(f"in a wider terminal: {', '.join(hidden)}", width) * bool(hidden) + below
    return _paragraphs(rows, width) + below


def _without(rows: Sequence[Mapping[str, str]], names: Container[str]) -> list[Mapping[str, str]]:
    return [{name: cell for name, cell in row.items() if name not in names} for row in rows]


def _columns(rows: Sequence[Mapping[str, str]], words: Container[str]) -> list[str]:
    names = list(rows[0]) if rows else []
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}

    def line(row: Mapping[str, str]) -> str:
        cut = (row[name].ljust(widths[name]) if name in words else row[name].rjust(widths[name]) for name in names)
        return "  ".join(cut).rstrip()

    return [line({name: name for name in names}), *map(line, rows)]


def _paragraphs(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Return for each row its first cell, and below it the names and values of the others that are known."""
    lines: list[str] = []
    for row in rows:
        (_, first), *others = row.items()
        pairs = [f"{name} {cell}" for name, cell in others if cell not in ("", NOT_CHECKED)]
        # A name stays on the line of its value, if a line is long enough for both.
        joined = "  ".join(pair.replace(" ", "\xa0") if len(pair) <= width - len("  ") else pair for pair in pairs)
        wrapped = textwrap.wrap(
            *(joined, width),
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [first, *(line.replace("\xa0", " ") for line in wrapped)]
    return lines


def _width(lines: Iterable[str]) -> int:
    return max(map(len, lines), default=0)


def as_text(report: Report) -> str:
    """Return the report for a terminal as one text."""
    return "\n".join(map(visible, as_lines(report)))


def as_lines(report: Report, width: int | None = None) -> list[str]:
    """Return the report for a terminal of so many columns: table, reasons, verdict."""
    place: Place = "sync" if report.command == "sync" else "terminal"
    rows = [cells(route, place) for route in report.routes]
    if len(rows) > 1:
        rows.append(total_cells(report.routes, place))
    lines = table(rows, text_headings(place), width, SPARE) if rows else []
    for route in report.routes:
        lines.extend(f"{route.route}: {reason}" for reason in route.reasons)
        # The table of a sync has it.
        lines.extend(f"{route.route}: {remark}" for remark in remarks(route, with_sync=place != "sync"))
        if " -> " in route.place:
            lines.append(f"{route.route}: published, {route.place}")
        lines.extend(
            f"{route.route}: {kind} at {addresses[0]}" for kind, addresses in route.samples.items() if addresses
        )
        lines.extend(f"{route.route}: {loss_text(loss)}" for loss in route.lost)
        if slowdown := slowed_down(route):
            lines.append(f"{route.route}: {slowdown}")
    lines.extend(f"{entry.row.route}: {entry.row.verdict}, {entry.found}" for entry in entries(report) if entry.found)
    if windows := [row.sync.window_s for row in report.routes if row.sync and row.sync.window_s and place == "sync"]:
        lines.append(f"the source keeps its changes for {seconds(min(windows))}")
    lines += canaries(report)
    lines += ["", meaning(report), *(f"next: {step}" for step in next_steps(report)), ""]
    lines.append(closing_line(report))
    return [line.replace("`", "'") for line in lines]


def history_table(runs: Sequence[tuple[PastRun, str]], width: int | None = None) -> list[str]:
    """Return runs of a plan, each with what became of it, as a table for a terminal of so many columns."""
    rows = [
        {
            "run": number(at),
            "began": f"{run.began[:19].replace('T', ' ')} UTC",
            "command": run.command,
            "verdict": verdict,
            "read": NOT_CHECKED if run.read is None else number(run.read),
            "copied a second, at most": NOT_CHECKED if run.fastest is None else number(round(run.fastest)),
        }
        for at, (run, verdict) in enumerate(runs, start=1)
    ]
    return table(rows, left=("began", "command", "verdict"), width=width)


def loss_text(loss: FieldLoss) -> str:
    """Return the losses of one kind at one field as a sentence."""
    accepted = "accepted" if loss.accepted else "not accepted"
    examples = f"; such as {', '.join(loss.examples)}" if loss.examples else ""
    return f"lost {number(loss.count)} x {loss.kind} at {loss.field or 'the document'} ({accepted}{examples})"


def closing_line(report: Report) -> str:
    """Return the last line of a report: its verdict, routes and time."""
    elapsed_s = report.elapsed_s
    if elapsed_s is None:
        elapsed_s = (report.finished - report.started).total_seconds()
    limits = "".join(
        f"; {what}: {named(names)}"
        for level, what in (("none", "not verified"), ("counts", "only counted"), ("sample", "only sampled"))
        if (names := [route.route for route in report.routes if route.verified == level])
    )
    return f"verdict {report.verdict}: {counted(len(report.routes), 'route')} in {seconds(elapsed_s)}{limits}"
