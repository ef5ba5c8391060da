"""The elements of report.html: escaped text, numbers with their key in report.json, tables and lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from flows.quantities import number
from flows.reporting.model import RouteReport
from flows.visible_text import visible


def escaped(words: str) -> str:
    """Return text from a plan or a store as it may be put into the page."""
    return escape(visible(words))


def prose(sentence: str) -> str:
    """Return a sentence as it may be put into the page, with what is between a pair of backticks as code."""
    pieces = escaped(sentence).split("`")
    if len(pieces) % 2 == 0:  # The last backtick has no partner.
        pieces[-2:] = [f"{pieces[-2]}`{pieces[-1]}"]
    return "".join(_command(piece) if at % 2 else piece for at, piece in enumerate(pieces))


def _command(words: str) -> str:
    """Return code that breaks between its words only."""
    return f"<code>{' '.join(f'<span>{word}</span>' for word in words.split())}</code>"


def codes(texts: Iterable[str]) -> str:
    """Return each text as code on a line of its own."""
    return "<br>".join(f"<code>{escaped(text)}</code>" for text in texts)


def moment(iso: str) -> str:
    """Return a time in ISO 8601 to the second, in UTC."""
    return escape(iso[:19].replace("T", " ") + " UTC")


def keyed_number(key: str, value: float) -> str:
    """Return a number with its key in report.json, such as ``routes.0.read``."""
    words = number(value) if isinstance(value, int) else f"{value:,.1f}".replace(",", " ")
    return f'<data data-key="{escape(key, quote=True)}" value="{value}">{words}</data>'


def route_number(key: str, route: RouteReport, name: str) -> str:
    """Return the number in this field of the route with this key in report.json; a dash if it was not checked."""
    value = route.figure(name)
    return '<abbr title="not checked">–</abbr>' if value is None else keyed_number(f"{key}.{name}", value)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), long: Sequence[str] = ()
) -> str:
    """Return a table of HTML cells; columns in `right` are aligned to the right, those in `long` may break anywhere."""
    head = "".join(f'<th scope="col"{number_class(name in right)}>{name}</th>' for name in headings)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{number_class(name in right) or (' class=long' if name in long else '')}>{cell}</td>"
            for name, cell in zip(headings, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def number_class(is_number: bool) -> str:
    """Return the attribute that aligns a cell of numbers to the right, "" for a cell of words."""
    return ' class="n"' if is_number else ""


def bullets(items: Sequence[str]) -> str:
    """Return a list of HTML items, "" for none."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""
