"""The field of a reject for arrays within arrays, in the words of OpenSearch 2.19.6, and by the way it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from elasticsearch_indexes import document
from elasticsearch_proxy import Proxy, withheld

from stores.elasticsearch.deep_arrays import with_field
from stores.elasticsearch.spots import Refusal
from stores.elasticsearch.target import ElasticsearchTarget

REASON = "The depth of the nested array field has exceeded the allowed limit of [20]"


def nested(arrays: int, value: Any = 1) -> Any:
    for _ in range(arrays):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"a": nested(20), "b": nested(21)}, "b"),
        ({"a": {"b": nested(21)}}, "a.b"),
        ({"a": nested(11, {"b": nested(10)}), "c": [1, nested(20)]}, "c"),
        ({"a": nested(20, {"b": nested(20)})}, ""),
        ({"a": nested(21), "b": nested(30)}, ""),
    ],
)
def test_the_only_field_with_too_many_arrays_is_named(fields: dict[str, Any], field: str) -> None:
    refusal = Refusal("E-ES-REJECTED", f"parse_exception (400): {REASON}")
    assert with_field(refusal, orjson.dumps(fields)) == refusal._replace(field=field)


def test_another_refusal_stays_as_it_is() -> None:
    refusal = Refusal("E-ES-REJECTED", "parse_exception (400)")
    assert with_field(refusal, orjson.dumps({"a": nested(21)})) == refusal


def test_a_source_that_is_no_json_is_named_no_field() -> None:
    refusal = Refusal("E-ES-REJECTED", f"parse_exception (400): {REASON}")
    assert with_field(refusal, b'{"a":' + b"[" * 30) == refusal


def test_the_reject_has_the_field(make: Callable[..., ElasticsearchTarget], proxy: Proxy) -> None:
    target = make()
    target.prepare()
    cause = {"type": "parse_exception", "reason": f"{REASON}. This limit can be set"}
    proxy.faults = [withheld(0, 400, "mapper_parsing_exception", "failed to parse", caused_by=cause)]
    (refused,) = target.write([document("a", n=1, free=nested(21))])
    assert (refused.field, REASON in refused.reason) == ("free", True)
