"""R29: every loss names the field it befell, so that a plan can accept it there and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Binary

from mappers.contract import Losses
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Index
from mappers.redis.collections import SetMapper
from mappers.redis.geo import GeoMapper
from mappers.redis.string import CounterMapper, StringMapper
from mappers.transforms.steps import compose
from mappers.transforms.values import Cast


@pytest.mark.parametrize(
    ("make", "options", "document", "lost"),
    [
        (SetMapper, {"values": "a.tags"}, {"a": {"tags": ["x", "x"]}}, ("a.tags", "set_duplicate")),
        (SetMapper, {"member": "_id", "each": "t", "key": "k:{t}"}, {"t": ["x", "x"]}, ("t", "set_duplicate")),
        (GeoMapper, {"location": "at"}, {"at": [1.1, 2.2]}, ("at", "geo_rounded")),
        (CounterMapper, {"value": "n"}, {"n": -0.0}, ("n", "neg_zero")),
        (StringMapper, {"format": "raw", "value": "b"}, {"b": Binary(b"1", 5)}, ("b", "binary_subtype")),
        (
            ItemMapper,
            {"indexes": {"by_s": Index("s")}, "index_mismatch": "omit"},
            {"s": [1]},
            ("s", "index_omitted"),
        ),
    ],
)
def test_a_loss_names_its_field_so_that_a_plan_can_accept_it_there(
    make: Any, options: dict[str, Any], document: dict[str, Any], lost: tuple[str, str]
) -> None:
    losses = Losses()
    list(make(make.Options(**options), "route", losses)({"_id": 1, **document}))
    assert lost in losses.take()


def test_a_cast_names_its_field() -> None:
    losses = Losses()
    steps = [Cast({"a.n": "int", "m": "int"}, {"m": 0}, lossy=True)]
    list(compose(steps, losses)({"_id": 1, "a": {"n": 1.7}, "m": "x"}))
    assert set(losses.take()) == {("a.n", "cast_rounded"), ("m", "cast_default")}
