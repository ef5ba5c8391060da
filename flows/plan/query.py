"""The query of a route's `where`: Extended JSON, as YAML holds it, turned into BSON values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import InvalidOperation
from typing import Any

import bson
from bson import json_util
from bson.errors import BSONError

from mappers.documents.decoding import CODEC

_EXTENDED = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC)


def parsed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query with its Extended JSON (``{$date: …}``, ``{$oid: …}``) as BSON values.

    Raises ValueError, with the reason, for what no MongoDB query can hold.
    """
    try:
        query: dict[str, Any] = _bson(raw)
        bson.encode(query, codec_options=CODEC)
    except InvalidOperation as error:  # Its own text names its class only.
        raise ValueError("a number in it cannot be read") from error
    except (BSONError, TypeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    return query


def _bson(value: Any) -> Any:
    if isinstance(value, Mapping):
        inside = {name: _bson(inner) for name, inner in value.items()}
        # As an operator $regex may have neighbours ($ne, $nin), which Extended JSON's $regex has not and would lose.
        return inside if "$regex" in inside else json_util.object_hook(inside, _EXTENDED)
    if isinstance(value, list):
        return [_bson(inner) for inner in value]
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)  # YAML's 2024-01-01; BSON has no days.
    return value
