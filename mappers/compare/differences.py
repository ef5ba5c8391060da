"""The differences of two records: the paths, and the kind of difference at each, from their contents alone (R154)."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from mappers.documents.decoding import TYPE_NAMES, elements
from mappers.tree import Elements, Leaf, Names, Tree

Kind = Literal["missing", "extra", "type", "value", "order", "precision"]
KINDS: Mapping[Kind, str] = {
    "missing": "the document has a value here, the target has none",
    "extra": "the target has a value here, the document has none",
    "type": "the target has a value of another type",
    "value": "the target has another value of the same type",
    "order": "the target has the same elements or names in another order",
    "precision": "the target has nearly the same number or date; the last digits differ or are missing",
}
"""The ways in which two contents differ at a path."""

_CLOSE = Decimal("1e-6")
"""Two numbers that differ relatively by no more are one number kept less exactly: a float of 32 bits keeps 6e-8."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One path at which two contents differ."""

    path: Path
    kind: Kind
    expected: Tree | None
    found: Tree | None


def differences(expected: Tree, found: Tree, path: Path = ()) -> Iterator[Difference]:
    """Yield the differences between the expected and the found content, outermost first; none if they are equal."""
    match expected, found:
        case Names(values=wanted, ordered=ordered), Names(values=there):
            for name, value in wanted.items():
                if name in there:
                    yield from differences(value, there[name], (*path, name))
                else:
                    yield Difference((*path, name), "missing", value, None)
            for name in there:
                if name not in wanted:
                    yield Difference((*path, name), "extra", None, there[name])
            if ordered and [name for name in wanted if name in there] != [name for name in there if name in wanted]:
                yield Difference(path, "order", expected, found)
        case Elements(values=wanted), Elements(values=there):
            yield from _elements(expected, found, wanted, there, path)
        case Leaf(), Leaf():
            if expected.type != found.type:
                yield Difference(path, "type", expected, found)
            elif not _same(expected.value, found.value):
                yield Difference(path, _how(expected.value, found.value), expected, found)
        case _:
            yield Difference(path, "type", expected, found)


def _elements(
    expected: Tree, found: Tree, wanted: Sequence[Tree], there: Sequence[Tree], path: Path
) -> Iterator[Difference]:
    if len(wanted) == len(there):
        inner = [
            list(differences(left, right, (*path, str(at))))
            for at, (left, right) in enumerate(zip(wanted, there, strict=True))
        ]
        if any(inner) and Counter(map(repr, wanted)) == Counter(map(repr, there)):
            yield Difference(path, "order", expected, found)
            return
        for nested in inner:
            yield from nested
        return
    for at, (left, right) in enumerate(zip(wanted, there, strict=False)):
        yield from differences(left, right, (*path, str(at)))
    for at in range(len(there), len(wanted)):
        yield Difference((*path, str(at)), "missing", wanted[at], None)
    for at in range(len(wanted), len(there)):
        yield Difference((*path, str(at)), "extra", None, there[at])


def _same(left: object, right: object) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):  # -0.0 is another value than 0.0, a NaN is itself.
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    return left == right


def _how(left: object, right: object) -> Kind:
    """Return how two unequal values of the same store type differ."""
    if isinstance(left, int) and isinstance(right, int):
        # Two large whole numbers that are one double were once kept as one; others are different numbers.
        return "precision" if left != right and float(left) == float(right) else "value"
    first, second = _number(left), _number(right)
    if first is None or second is None:
        return "precision" if _less_exact_date(left, right) or _less_exact_date(right, left) else "value"
    if first == second:
        return "type" if type(left) is not type(right) else "value"  # 1 and 1.0; else a zero's sign
    return "precision" if abs(first - second) <= _CLOSE * max(abs(first), abs(second)) else "value"


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


def _less_exact_date(whole: object, cut: object) -> bool:
    """Return whether two texts are dates, and the second lacks digits of its seconds that the first has."""
    if not isinstance(whole, str) or not isinstance(cut, str) or whole[:19] != cut[:19] or len(whole) < 20:
        return False
    try:
        first, second = dt.datetime.fromisoformat(whole), dt.datetime.fromisoformat(cut)
        return first != second and len(whole) > len(cut) and abs(first - second) < dt.timedelta(seconds=1)
    except (TypeError, ValueError):
        return False


def source_type(raw: bytes, path: Path) -> str:
    """Return the BSON type of the stored document's value at the path; "" if it has none, as a mapper may rename."""
    inner, kind = raw, 0x03
    for name in path:
        if kind not in (0x03, 0x04):
            return ""
        try:
            element = next(
                ((code, start, end) for code, text, start, end in elements(inner) if text == name.encode()), None
            )
        except ValueError:  # Also a MappingError, for bytes that cannot be read.
            return ""
        if element is None:
            return ""
        kind, start, end = element
        inner = inner[start:end]
    return TYPE_NAMES.get(kind, "")
