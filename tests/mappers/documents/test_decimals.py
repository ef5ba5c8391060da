"""R4-R6, R10, R25: one text for each number, and exactly the numbers DynamoDB holds."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from bson import Decimal128
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mappers.documents.decimals import dynamodb_text, exact_text, fits_dynamodb, same_number

DOUBLES = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Decimal(repr(value)))
DECIMALS = st.builds(
    lambda sign, digits, exponent: Decimal128(Decimal((sign, digits, exponent))).to_decimal(),
    st.sampled_from((0, 1)),
    st.lists(st.integers(0, 9), min_size=1, max_size=34).map(tuple),
    st.integers(-6176, 6111),
)
NUMBERS = DOUBLES | DECIMALS | st.integers(-(2**63), 2**63 - 1).map(Decimal)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        *(("0", True), ("0.000", True), ("-0", False), ("-0.0", False), ("0E+6111", True)),
        *(("1E-130", True), ("-1E-130", True), ("1E-131", False), ("9E-131", False), ("5E-324", False)),
        *(("1E+125", True), ("9.99E+125", True), ("-9.99E+125", True), ("1E+126", False), ("1E+6144", False)),
        ("9" * 38, True),
        ("9" * 39, False),
        ("-" + "9" * 38, True),
        ("-" + "9" * 39, False),
        ("9" * 38 + "E+88", True),
        ("9" * 38 + "E+87", True),
        ("9" * 38 + "E+89", False),
        ("1" + "0" * 60, True),
        ("0." + "0" * 60 + "1", True),
        ("1." + "0" * 60, True),
        ("1." + "0" * 37 + "1", False),
        ("1." + "0" * 36 + "1", True),
        ("1.5E-130", True),  # 2 digits whose last stands past 1E-130; the magnitude is what counts
        ("0.95E-130", False),
    ],
)
def test_dynamodb_takes_numbers_by_digits_and_magnitude(text: str, fits: bool) -> None:
    assert fits_dynamodb(Decimal(text)) is fits


@settings(deadline=None)
@given(NUMBERS)
def test_a_number_that_fits_keeps_its_exact_value(value: Decimal) -> None:
    assume(fits_dynamodb(value))
    text = dynamodb_text(value)
    assert Fraction(text) == Fraction(value)
    assert "E" not in text
    digits = text.lstrip("-").replace(".", "").strip("0")
    assert len(digits) <= 38
    assert same_number(text) == text


@settings(deadline=None)
@given(DOUBLES)
def test_a_double_comes_back_as_the_same_bits(value: Decimal) -> None:
    assume(fits_dynamodb(value))
    assert float(dynamodb_text(value)).hex() == float(value).hex()


@settings(deadline=None)
@given(NUMBERS, st.integers(0, 5), st.booleans())
def test_a_number_is_the_same_in_any_notation_a_store_returns(value: Decimal, zeros: int, upper: bool) -> None:
    assume(fits_dynamodb(value))
    plain = dynamodb_text(value)
    notations = [plain, str(value), f"{value:e}", plain + ("" if "." in plain else ".") + "0" * zeros]
    if not plain.startswith("-"):
        notations += ["+" + plain, "0" * zeros + plain]
    for text in notations:
        assert same_number(text.upper() if upper else text.lower()) == plain


@pytest.mark.parametrize(
    ("text", "same"),
    [
        *(("1E+2", "100"), ("1e2", "100"), ("1.50", "1.5"), ("+1", "1"), ("-0", "0"), ("0.0", "0"), ("00", "0")),
        *((".5", "0.5"), ("1.", "1"), ("01", "1"), ("-01.10", "-1.1"), ("100", "100"), ("0", "0"), ("1E-3", "0.001")),
        ("1" + "0" * 50, "1" + "0" * 50),
        ("9" * 60, "9" * 60),  # More digits than DynamoDB takes: an emulator may hold them, and they must differ.
    ],
)
def test_a_number_as_a_store_returns_it_has_one_text(text: str, same: str) -> None:
    assert same_number(text) == same
    assert same_number(same) == same


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_exact_texts_are_equal_exactly_if_the_values_are(values: list[Decimal]) -> None:
    for one in values:
        for other in values:
            assert (exact_text(one) == exact_text(other)) is (Fraction(one) == Fraction(other))
        assert Fraction(exact_text(one)) == Fraction(one)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        *(("-0", "0"), ("0E+6111", "0"), ("1.10", "1.1"), ("42", "42"), ("1E+2", "100"), ("-1.5", "-1.5")),
        *(("1E+40", "1" + "0" * 40), ("1E+400", "1E+400"), ("10E+399", "1E+400"), ("100E-500", "1E-498")),
    ],
)
def test_the_exact_text_is_plain_for_usual_sizes(text: str, exact: str) -> None:
    assert exact_text(Decimal(text)) == exact


def test_no_digit_of_the_longest_double_is_lost() -> None:
    smallest = Decimal(math.nextafter(2.0**-1022, 0))  # 767 significant digits
    assert Fraction(exact_text(smallest)) == Fraction(smallest)
    assert exact_text(smallest) != exact_text(Decimal(math.nextafter(float(smallest), 0)))
