"""Casts: one table of what each value becomes, exact, with its loss named, or refused; and round trips."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st
from strategies import INT64, dates, decimals, doubles, object_ids, scalars

from mappers.transforms.casts import RESPELLED, ROUNDED, CastType, cast, encodable

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
DAY = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
OID = ObjectId("5f3b1c2d4e5f60718293a4b5")
UUID = Binary(bytes(range(16)), 4)


@pytest.mark.parametrize(
    ("value", "to", "made", "lost"),
    [
        # to string
        *(
            ("t", "string", "t", ""),
            (True, "string", "true", ""),
            (7, "string", "7", ""),
            (Int64(7), "string", "7", ""),
        ),
        *((1.0, "string", "1.0", ""), (-0.0, "string", "-0.0", ""), (Decimal128("1.10"), "string", "1.10", "")),
        *((AT, "string", "2026-01-02T03:04:05.678Z", ""), (OID, "string", str(OID), "")),
        (UUID, "string", "00010203-0405-0607-0809-0a0b0c0d0e0f", ""),
        # to whole numbers
        *((7, "int", 7, ""), (True, "int", 1, ""), (7.0, "int", 7, ""), ("7", "int", 7, ""), ("-7", "int", -7, "")),
        *((Decimal128("7.00"), "int", 7, ""), (2**31 - 1, "int", 2**31 - 1, ""), (-(2**31), "int", -(2**31), "")),
        *(
            (1.7, "int", 1, ROUNDED),
            (-1.7, "int", -1, ROUNDED),
            ("1.7", "int", 1, ROUNDED),
            (1e-300, "int", 0, ROUNDED),
        ),
        *(("007", "int", 7, RESPELLED), ("+7", "int", 7, RESPELLED), ("7.0", "int", 7, RESPELLED)),
        *(("1e2", "int", 100, RESPELLED), ("-0", "int", 0, RESPELLED), (-0.0, "int", 0, RESPELLED)),
        *((2**62, "long", 2**62, ""), ("9223372036854775807", "long", 2**63 - 1, "")),
        *((AT, "long", 1767323045678, ""), (DatetimeMS(2**62), "long", 2**62, "")),
        # to double
        *((1, "double", 1.0, ""), ("1", "double", 1.0, ""), ("1.0", "double", 1.0, ""), ("0.1", "double", 0.1, "")),
        *((Decimal128("0.1"), "double", 0.1, ""), (Decimal128("1.10"), "double", 1.1, ""), (0.1, "double", 0.1, "")),
        *((2**53, "double", 2.0**53, ""), (2**53 + 1, "double", 2.0**53, ROUNDED)),
        *(("9007199254740993", "double", 2.0**53, ROUNDED), ("0.1000000000000000055", "double", 0.1, ROUNDED)),
        *(("1.50", "double", 1.5, RESPELLED), ("1e5", "double", 1e5, RESPELLED), ("1e-999", "double", 0.0, ROUNDED)),
        (Decimal128("Infinity"), "double", math.inf, ""),
        # to decimal
        *((1, "decimal", Decimal128("1"), ""), (0.1, "decimal", Decimal128("0.1"), "")),
        *(("1.50", "decimal", Decimal128("1.50"), ""), ("1e5", "decimal", Decimal128("1E+5"), RESPELLED)),
        *((2**63 - 1, "decimal", Decimal128(str(2**63 - 1)), ""), (-math.inf, "decimal", Decimal128("-Infinity"), "")),
        # to bool
        *((True, "bool", True, ""), (1, "bool", True, ""), (0.0, "bool", False, ""), ("false", "bool", False, "")),
        (Decimal128("1.0"), "bool", True, ""),
        # to date
        *((AT, "date", AT, ""), (1767323045678, "date", AT, ""), ("2026-01-02T03:04:05.678Z", "date", AT, "")),
        *(("2026-01-02", "date", DAY, ""), ("2026-01-02T00:00:00Z", "date", DAY, "")),
        *(("2026-01-02T00:00:00.000Z", "date", DAY, ""), ("2026-01-02T00:00", "date", DAY, RESPELLED)),
        *(("2026-01-02T02:00:00+02:00", "date", DAY, RESPELLED), ("2026-01-02T03:04:05.6789Z", "date", AT, ROUNDED)),
        *(("2026-01-02T03:04:05.678000Z", "date", AT, RESPELLED), (2**62, "date", DatetimeMS(2**62), "")),
        *((1767323045678.0, "date", AT, ""), ("1767323045678", "date", None, None)),
        # to objectId
        *((OID, "objectId", OID, ""), (str(OID), "objectId", OID, ""), (str(OID).upper(), "objectId", OID, RESPELLED)),
    ],
)
def test_a_cast_is_exact_or_names_its_loss(value: Any, to: CastType, made: Any, lost: str | None) -> None:
    if lost is None:
        with pytest.raises(ValueError):
            cast(value, to)
        return
    result, its = cast(value, to)
    assert (repr(result), its) == (repr(made if to != "long" else Int64(made)), lost)


REFUSED: dict[CastType, list[Any]] = {
    "string": [None, [], {}, b"secret", Binary(b"secret", 5), Code("secret"), math.nan, DatetimeMS(2**62), Regex("x")],
    "int": [None, "", " 7", "7 ", "secret", "0x7", "1_0", "٧", "NaN", math.nan, 2**31, 1e300, Decimal128("1E+6000")],
    "long": [2**63, "9223372036854775808", Decimal128("NaN"), OID, Code("7"), [1], "1e99999", "1e999999999"],
    "double": ["inf", "1e999", 10**400, True, AT, DatetimeMS(1), "1,5", Decimal128("1E+6000")],
    "decimal": ["1" * 35, True, AT, "secret", "1e9999"],
    "bool": [2, "yes", "True", "", None, 0.5, math.nan, Decimal128("NaN"), AT],
    "date": [
        "2026-02-30",
        "2026",
        "20260102",
        "Fri, 2 Jan",
        "secret",
        True,
        1.5,
        math.inf,
        2**63,
        OID,
        Timestamp(1, 1),
    ],
    "objectId": [
        "5f3b1c2d4e5f60718293a4b",
        "g" * 24,
        b"x" * 12,
        5,
        MaxKey(),
        "5f3b1c2d4e5f60718293a4b5\n",
        Code(str(OID)),
    ],
}


@pytest.mark.parametrize(("to", "value"), [(to, value) for to, refused in REFUSED.items() for value in refused])
def test_what_has_no_such_form_is_refused_without_being_told(to: CastType, value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        cast(value, to)
    assert "secret" not in str(caught.value)


@given(scalars(), st.sampled_from(list(REFUSED)))
def test_any_value_is_cast_or_refused_and_what_was_cast_stays_what_it_is(value: Any, to: CastType) -> None:
    try:
        made, _ = cast(value, to)
    except ValueError:
        return
    assert cast(made, to) == (made, "") or made != made


def back(value: Any, to: CastType, again: CastType) -> Any:
    made, lost = cast(value, to)
    assert lost == ""
    return cast(made, again)


@given(INT64)
def test_a_whole_number_comes_back_from_text_decimal_and_date(number: int) -> None:
    assert back(number, "string", "long") == (number, "")
    assert back(number, "decimal", "long") == (number, "")
    assert back(number, "date", "long") == (number, "")


@given(doubles().filter(math.isfinite))
def test_a_double_comes_back_from_text_and_decimal(number: float) -> None:
    assert repr(back(number, "string", "double")[0]) == repr(number)
    assert repr(back(number, "decimal", "double")[0]) == repr(number)


@given(decimals().filter(lambda value: value.to_decimal().is_finite()))
def test_a_decimal_comes_back_from_text_with_its_zeros(number: Decimal128) -> None:
    assert back(number, "string", "decimal") == (number, "")


@given(decimals().filter(lambda value: value.to_decimal().is_finite()))
def test_a_decimal_whose_digits_a_double_lacks_is_never_said_to_be_exact(number: Decimal128) -> None:
    try:
        made, lost = cast(number, "double")
    except ValueError:
        return
    assert (Decimal(repr(made)) == number.to_decimal()) is (lost == "")


@given(dates().filter(lambda value: isinstance(value, dt.datetime)), object_ids())
def test_dates_and_ids_come_back_from_text(date: dt.datetime, number: ObjectId) -> None:
    assert back(date, "string", "date") == (date, "")
    assert back(number, "string", "objectId") == (number, "")


def test_a_value_of_a_plan_is_read_as_extended_json() -> None:
    assert encodable({"$date": "2026-01-02T00:00:00Z"}) == DAY
    assert encodable([dt.date(2026, 1, 2), dt.datetime(2026, 1, 2)]) == [DAY, DAY]
    assert encodable({"a": {"$oid": str(OID)}}) == {"a": OID}
    assert encodable(Binary.from_uuid(UUID.as_uuid(), UuidRepresentation.STANDARD)) == UUID
    for wrong in ({"$oid": "secret"}, {"$date": "secret"}, 2**64, {1: 2}, object()):
        with pytest.raises(ValueError) as caught:
            encodable(wrong)
        assert "secret" not in str(caught.value)
