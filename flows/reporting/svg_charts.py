"""Charts as SVG: axes begin at zero and have units; a page that shows a chart also gives its numbers as text.

Colours come by class, so that the page decides how a chart looks in light, in dark and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flows.quantities import number

_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 12, 38
_ROW, _NAMES = 24, 140
_WIDEST = 44


@dataclass(frozen=True, slots=True)
class Steps:
    """Values one after another, each of which holds for `width` units of x."""

    width: float
    values: Sequence[float]


def over_time(title: str, steps: Steps, x_unit: str, y_unit: str) -> str:
    """Return an area over time, both axes from zero."""
    far = steps.width * len(steps.values) or 1
    top, step = _scale(max(steps.values, default=0))
    parts = _frame(top, step, y_unit)
    for at in _marks(*_scale(far)):
        if at <= far:
            parts.append(_text(_x(at, far), _HEIGHT - _BOTTOM + 15, _short(at), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_unit, "middle"))
    corners = [f"M{_LEFT} {_y(0, top):.1f}"]
    for at, value in enumerate(steps.values, 1):
        corners.append(f"V{_y(value, top):.1f}H{_x(at * steps.width, far):.1f}")
    parts.append(f'<path class="area" d="{"".join(corners)}V{_y(0, top):.1f}Z"/>')
    return _svg(title, _HEIGHT, parts)


def columns(title: str, names: Sequence[str], values: Sequence[int], y_unit: str) -> str:
    """Return a column for each name, side by side, from zero."""
    top, step = _scale(max(values, default=0))
    parts = _frame(top, step, y_unit)
    room = (_WIDTH - _LEFT - _RIGHT) / max(1, len(names))
    every = math.ceil(len(names) / 6)  # Names side by side must not run into each other.
    for at, (name, value) in enumerate(zip(names, values, strict=True)):
        middle, width = _LEFT + (at + 0.5) * room, min(room * 0.8, _WIDEST)
        parts.append(
            f'<rect class="bar" x="{middle - width / 2:.1f}" y="{_y(value, top):.1f}" width="{width:.1f}"'
            f' height="{_y(0, top) - _y(value, top):.1f}"/>'
        )
        if at % every == 0:
            parts.append(_text(middle, _HEIGHT - _BOTTOM + 15, name, "middle"))
    return _svg(title, _HEIGHT - 18, parts)


def rows(title: str, names: Sequence[str], values: Sequence[float], labels: Sequence[str]) -> str:
    """Return a bar for each name, one below the other, from zero; `labels` are the values with units."""
    most = max(values, default=0) or 1
    room = _WIDTH - _NAMES - 90
    parts = []
    for at, (name, value, words) in enumerate(zip(names, values, labels, strict=True)):
        middle = at * _ROW + _ROW / 2 + 4
        length = room * value / most
        parts.append(_text(_NAMES - 8, middle + 4, name if len(name) <= 22 else name[:21] + "…", "end"))
        parts.append(f'<rect class="bar" x="{_NAMES}" y="{middle - 7:.1f}" width="{length:.1f}" height="14"/>')
        parts.append(_text(_NAMES + length + 6, middle + 4, words, "start"))
    parts.append(f'<path class="axis" d="M{_NAMES} 2V{len(names) * _ROW + 6}"/>')
    return _svg(title, len(names) * _ROW + 8, parts)


def _frame(top: float, step: float, unit: str) -> list[str]:
    parts = []
    for at in _marks(top, step):
        height = _y(at, top)
        parts.append(f'<path class="{"axis" if at == 0 else "grid"}" d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, height + 4, _short(at), "end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" transform="translate(10 {middle:.0f}) rotate(-90)">'
        f"{escape(unit)}</text>"
    )
    return parts


def _marks(top: float, step: float) -> list[float]:
    return [count * step for count in range(round(top / step) + 1)]


def _scale(most: float) -> tuple[float, float]:
    """Return where an axis from zero ends, and its step, of 1, 2 or 5 and zeros, so that it has two to five steps."""
    if most <= 0:
        return 1, 1
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.25, 0.5, 1, 2) if most / (power * part) <= 5)
    return math.ceil(most / step - 1e-9) * step, step


def _x(value: float, far: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / far


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return number(round(value)) if value == round(value) else f"{value:g}"


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text class="label {more}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title, quote=True)}" viewBox="0 0 {_WIDTH} {height:g}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
