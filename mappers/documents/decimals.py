"""Exact decimal text of BSON numbers: one text per value, and DynamoDB's number range."""

from __future__ import annotations

import struct
from decimal import Context, Decimal

from bson import Decimal128

# Wide enough for every double (767 significant digits) and every decimal128 without rounding.
_EXACT = Context(prec=1200, Emin=-999999, Emax=999999)

# DynamoDB: at most 38 significant digits, magnitudes 1E-130 to 9.99...E+125, or zero (R5, R6).
_DYNAMODB_DIGITS = 38
_DYNAMODB_LEAST = -130
_DYNAMODB_MOST = 125

_WORDS = struct.Struct("<QQ")
_OTHER_FORM = 3 << 61
_HIGH_DIGITS = (1 << 49) - 1
_DECIMAL128_DIGITS = 34


def exact_text(value: Decimal) -> str:
    """Return one text for each finite numeric value: equal values give equal text, different ones different text.

    Sign, digits without leading or trailing zeros, exponent: ``0``, ``42``, ``-1.5``, ``1E+400`` (R10, R31).
    """
    normal = value.normalize(_EXACT)
    if not normal:
        return "0"
    exponent = int(normal.as_tuple().exponent)
    return format(normal, "f") if -40 <= exponent <= 40 else str(normal)


def plain_text(value: Decimal128) -> str | None:
    """Return the decimal as ``str`` writes it, from its two words; None for one that is not finite or has an exponent.

    Eight times as fast as `Decimal128.to_decimal`; the format is IEEE 754's, binary integer significand (bsonspec.org).
    """
    low, high = _WORDS.unpack(value.bid)
    exponent = (high >> 49 & 0x3FFF) - 6176
    digits = str((high & _HIGH_DIGITS) << 64 | low)
    places = len(digits)
    # Two set bits after the sign are another form: infinities, NaN, and significands that are never used.
    if high & _OTHER_FORM == _OTHER_FORM or places > _DECIMAL128_DIGITS or exponent > 0 or exponent + places < -5:
        return None
    sign = "-" if high >> 63 else ""
    if not exponent:
        return sign + digits
    if places > -exponent:
        return f"{sign}{digits[:exponent]}.{digits[exponent:]}"
    return f"{sign}0.{digits.rjust(-exponent, '0')}"


def fits_dynamodb(value: Decimal) -> bool:
    """Return whether DynamoDB's number type keeps this finite value exactly, with its sign (R4-R6)."""
    if not value:
        return not value.is_signed()
    normal = value.normalize(_EXACT)
    return len(normal.as_tuple().digits) <= _DYNAMODB_DIGITS and _DYNAMODB_LEAST <= normal.adjusted() <= _DYNAMODB_MOST


def dynamodb_text(value: Decimal) -> str:
    """Return the plain notation in which DynamoDB gives a number back: no exponent, no needless zero (R5)."""
    normal = value.normalize(_EXACT)
    return format(normal, "f") if normal else "0"


def same_number(text: str) -> str:
    """Return `dynamodb_text` of a number as a store returned it, whatever its notation (R25)."""
    if text.isdigit() and (text[0] != "0" or text == "0"):
        return text
    return dynamodb_text(Decimal(text))
