"""Numbers as a person reads them everywhere: `12 000 documents`, `1 route`, `1 min 35 s`. JSON has them plain."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: int) -> str:
    """Return a whole number with spaces between thousands."""
    return f"{value:,}".replace(",", " ")


def counted(value: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun, which has an s, or is `plural`, for any number but 1."""
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def named(names: Sequence[str], most: int = 5) -> str:
    """Return the first of the names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:most])} and {number(more)} more"


def some_of(names: Sequence[str], total: int) -> str:
    """Return these names, and how many there are beside them of so many in all."""
    more = total - len(names)
    return ", ".join(names) + (f" and {number(more)} more" if more > 0 else "")


def seconds(value: float | None) -> str:
    """Return a duration in seconds, minutes or hours; - for None."""
    if value is None:
        return "-"
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{number(minutes)} min {rest} s" if minutes < 120 else f"{number(minutes // 60)} h {minutes % 60} min"
