"""The filter of a partial index, judged as in MongoDB, by type and through arrays. Other filters are refused."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bson import Binary, Code, DBRef, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document
from mappers.values.json_values import milliseconds

Filter = Callable[[Document], bool]

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda stored, given: bool(stored > given),
    "$gte": lambda stored, given: bool(stored >= given),
    "$lt": lambda stored, given: bool(stored < given),
    "$lte": lambda stored, given: bool(stored <= given),
}


def compiled(expression: Mapping[str, Any]) -> Filter:
    """Return the function that tells whether a document matches; raises ValueError for one not supported here.

    Known are equality, `$in`, comparisons and `$exists: true` on fields, with texts, numbers, dates, ids and booleans,
    and `$and` and `$or` of such.
    """
    parts = [_part(name, given) for name, given in expression.items()]
    return lambda document: all(part(document) for part in parts)


def fields(expression: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of an expression."""
    for name, given in expression.items():
        if name in ("$and", "$or"):
            for clause in given:
                yield from fields(clause)
        else:
            yield name


def _part(name: str, given: Any) -> Filter:
    if name in ("$and", "$or"):
        inner = [compiled(clause) for clause in given]
        combine = all if name == "$and" else any
        return lambda document: combine(matches(document) for matches in inner)
    if name.startswith("$"):
        raise ValueError(f"its {name}")
    names = name.split(".")
    operators = given if isinstance(given, Mapping) and any(key.startswith("$") for key in given) else {"$eq": given}
    tests = [_test(operator, value, name) for operator, value in operators.items()]
    # Each for itself: one element of an array may answer the one, another the other, as in a query.
    return lambda document: all(any(map(test, reached(document, names))) for test in tests)


def _test(operator: str, given: Any, name: str) -> Callable[[Any], bool]:
    if operator == "$exists" and given is True:
        return lambda _: True
    if operator == "$in":
        among = [_known(element, operator, name) for element in given]
        return lambda stored: _scalar(stored) in among
    if operator != "$eq" and operator not in _ORDERS:
        raise ValueError(f"{operator} on {name!r}")
    kind, value = _known(given, operator, name)
    if operator == "$eq":
        return lambda stored: _scalar(stored) == (kind, value)
    compare = _ORDERS[operator]

    def ordered(stored: Any) -> bool:
        scalar = _scalar(stored)
        # Only values of one type are compared: a text is neither more nor less than a number.
        return scalar is not None and scalar[0] == kind and compare(scalar[1], value)

    return ordered


def _known(given: Any, operator: str, name: str) -> tuple[str, Any]:
    scalar = _scalar(given)
    if scalar is None or scalar[1] != scalar[1]:
        raise ValueError(f"{operator} with a {type(given).__name__} on {name!r}")
    return scalar


def _scalar(value: Any) -> tuple[str, Any] | None:
    """Return a value's type and what it is compared by; None for types that are not compared here."""
    match value:
        case bool():
            return "bool", value
        case Code() | Binary():
            return None
        case str():
            return "text", value.encode()  # By bytes, as without a collation.
        case int() | float():
            return "number", value
        case Decimal128():
            decimal = value.to_decimal()
            return "number", math.nan if decimal.is_nan() else decimal
        case dt.datetime() | DatetimeMS():
            return "date", milliseconds(value)
        case ObjectId():
            return "id", value.binary
        case _:
            return None


def reached(value: Any, names: Sequence[str]) -> Iterator[Any]:
    """Yield the values that a query sees at a path, through arrays: an array at its end, and each of its elements."""
    for number, name in enumerate(names):
        if isinstance(value, list):
            for element in value:
                if not isinstance(element, list):  # A path does not lead into arrays of arrays.
                    yield from reached(element, names[number:])
            if not name.isdecimal() or int(name) >= len(value):
                return
            value = value[int(name)]  # A number on the way is a position too.
            continue
        if isinstance(value, DBRef):
            value = value.as_doc()
        if not isinstance(value, Mapping) or name not in value:
            return
        value = value[name]
    yield value
    if isinstance(value, list):
        yield from value
