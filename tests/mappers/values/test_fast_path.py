"""The short ways through the tables: a document they take comes out as on the long way, byte by byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import bson
import orjson
import pytest
from bson import Code, DBRef, Decimal128, Int64
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st
from strategies import decimals, documents, doubles, raw_documents, scalars

from mappers.contract import Losses, MapperType, MappingError
from mappers.documents.decimals import dynamodb_text, fits_dynamodb, plain_text
from mappers.documents.decoding import CODEC, CODEC_MS
from mappers.documents.irregular import decode_all
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.values import DynamoDBValues
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.policies import JSON_POLICIES, ItemPolicies, JsonPolicies
from mappers.redis.hash import HashMapper
from mappers.redis.string import StringMapper
from mappers.values.field_names import dynamodb_name, elasticsearch_name, tagged_name
from mappers.values.json_values import NULL_TEXT, JsonValues, elasticsearch_json, flat_text, redis_json
from mappers.values.memo import Remembered
from mappers.values.tags import date_text

POLICIES = (
    JSON_POLICIES,
    JsonPolicies(nonfinite="as_null", int53="string", uuid_legacy="java"),
    JsonPolicies(nonfinite="reject"),
)


def told(make: Callable[[], Any]) -> Any:
    """Return what is made, or the error."""
    try:
        return make()
    except MappingError as error:
        return error.code, error.field, error.reason


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("form", [redis_json, elasticsearch_json])
def test_json_written_by_orjson_is_that_of_the_table(
    form: Callable[[JsonPolicies, Losses], JsonValues], policies: JsonPolicies
) -> None:
    losses, others = Losses(), Losses()
    values, table = form(policies, losses), form(policies, others)

    @given(documents())
    def holds(document: dict[str, Any]) -> None:
        long = told(lambda: orjson.dumps(table.document(document)))
        assert told(lambda: values.dumps(document)) == long
        assert losses.take() == others.take()

    holds()


@pytest.mark.parametrize(
    "field",
    [
        {"f": math.nan},
        {"f": -math.inf},
        {"f": [1.0, [math.nan]]},
        {"f": Decimal128("NaN")},
        {"f": Decimal128("1E+6000")},
        {"f": Code("x")},
        {"f": DBRef("c", 1)},
        {"$f": 1},
        {"f": {"$g": 1}},
        {"f": [{"a": {"$g": 1}}]},
        {"f": DatetimeMS(253402300800000)},
        {"f": DatetimeMS(-1)},
        {"f": Int64(2**62)},
    ],
)
def test_what_orjson_would_write_otherwise_is_left_to_the_table(field: dict[str, Any]) -> None:
    values = redis_json()
    assert values.dumps(field) == orjson.dumps(values.document(field))
    assert values.dumps({"plain": 1}) == b'{"plain":1}'  # and the names met on the long way did no harm
    assert values.dumps(field) == orjson.dumps(values.document(field))


@pytest.mark.parametrize("form", [ItemMapper, StringMapper, HashMapper, DocumentMapper])
def test_dates_as_stored_make_the_same_records(form: MapperType) -> None:
    mapper = form(form.Options(), "things", Losses())

    @given(raw_documents())
    def holds(raw: bytes) -> None:
        def records(codec: Any) -> Any:
            return list(mapper(decode_all(raw, JSON_POLICIES, Losses(), codec)))

        assert told(lambda: records(CODEC_MS)) == told(lambda: records(CODEC))

    holds()


@given(decimals())
def test_a_decimals_text_is_pythons_where_it_has_no_exponent(value: Decimal128) -> None:
    text, usual = plain_text(value), str(value)
    assert text == usual if text is not None else not usual.lstrip("-").replace(".", "").isdecimal()


@pytest.mark.parametrize("text", ["0", "-0", "0.00", "1", "-1.50", "0.000001", "0.0000001", "9" * 34, "0." + "1" * 34])
def test_ordinary_decimals_take_the_short_way(text: str) -> None:
    value = Decimal128(text)
    assert plain_text(value) == (None if "E" in str(value) else str(value))


@given(doubles())
def test_a_double_is_the_number_dynamodb_gives_back(value: float) -> None:
    made = DynamoDBValues().value(value)
    exact = Decimal(repr(value))
    assert made == {"N": dynamodb_text(exact)} if exact.is_finite() and fits_dynamodb(exact) else "M" in made


@given(documents())
def test_an_item_is_the_same_whether_names_are_kept_for_errors_or_not(document: dict[str, Any]) -> None:
    short, long = (DynamoDBValues(ItemPolicies(depth_overflow="json_string")) for _ in range(2))
    long._naming = True
    assert told(lambda: short.item(document)) == told(lambda: long.item(document))


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_dates_text_is_pythons(ms: int) -> None:
    moment = bson.decode(bson.encode({"d": DatetimeMS(ms)}), CODEC)["d"]
    assert date_text(ms) == moment.isoformat(timespec="milliseconds")[:-6] + "Z"


@pytest.mark.parametrize("ms", [-62_135_596_800_001, 253_402_300_800_000])
def test_a_date_of_another_year_has_no_text(ms: int) -> None:
    assert date_text(ms) is None


@given(st.lists(st.text(max_size=5)))
def test_names_remembered_are_names_escaped(some: list[str]) -> None:
    for escape in (tagged_name, dynamodb_name, lambda name: elasticsearch_name(name, True)):
        names = Remembered(escape)
        assert [names[name] for name in (*some, *some)] == [escape(name) for name in (*some, *some)]


def test_only_so_many_names_are_remembered() -> None:
    names = Remembered(tagged_name)
    values = redis_json()
    for number in range(70_000):
        assert names[f"n{number}"] == f"n{number}"
        assert values.dumps({f"n{number}": number}) == b'{"n%d":%d}' % (number, number)
    assert len(names) == 60_000


@given(scalars())
def test_a_hash_fields_text_is_the_same_on_the_short_way(value: Any) -> None:
    values = redis_json()

    def long() -> bytes:
        if value is None:
            return NULL_TEXT
        if isinstance(value, str) and not isinstance(value, Code):
            return value.encode()
        made = value if type(value) is bytes else values.value(value)
        return made if isinstance(made, bytes) else made.encode() if isinstance(made, str) else orjson.dumps(made)

    assert told(lambda: flat_text(value, values)) == told(long)
