"""MessagePack as its specification writes it."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from mappers.redis.msgpack import packed

GOLDEN: list[tuple[Any, str]] = [
    *((None, "c0"), (False, "c2"), (True, "c3")),
    *((0, "00"), (127, "7f"), (128, "cc80"), (255, "ccff"), (256, "cd0100"), (65535, "cdffff"), (65536, "ce00010000")),
    *((2**32 - 1, "ceffffffff"), (2**32, "cf0000000100000000"), (2**53 + 1, "cf0020000000000001")),
    *((2**64 - 1, "cfffffffffffffffff"), (-1, "ff"), (-32, "e0"), (-33, "d0df"), (-128, "d080"), (-129, "d1ff7f")),
    *((-32768, "d18000"), (-32769, "d2ffff7fff"), (-(2**31), "d280000000"), (-(2**31) - 1, "d3ffffffff7fffffff")),
    (-(2**63), "d38000000000000000"),
    *((1.0, "cb3ff0000000000000"), (-0.0, "cb8000000000000000"), (math.inf, "cb7ff0000000000000")),
    *(("", "a0"), ("é", "a2c3a9"), ("a" * 31, "bf" + "61" * 31), ("a" * 32, "d920" + "61" * 32)),
    *(("a" * 256, "da0100" + "61" * 256), ("a" * 65536, "db00010000" + "61" * 65536)),
    *((b"", "c400"), (b"\x00\xff", "c40200ff"), (b"a" * 256, "c50100" + "61" * 256)),
    (b"a" * 65536, "c600010000" + "61" * 65536),
    *(([], "90"), ([1, []], "920190"), ([0] * 16, "dc0010" + "00" * 16), ([0] * 65536, "dd00010000" + "00" * 65536)),
    *(({}, "80"), ({"b": 1, "a": {}}, "82a16201a16180")),
    ({str(n): n for n in range(16)}, "de0010" + "".join(packed(str(n)).hex() + packed(n).hex() for n in range(16))),
]


@pytest.mark.parametrize(("value", "expected"), GOLDEN)
def test_each_value_has_its_shortest_form(value: Any, expected: str) -> None:
    assert packed(value).hex() == expected


def test_a_nan_stays_one() -> None:
    (number,) = struct.unpack(">d", packed(math.nan)[1:])
    assert math.isnan(number)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, object(), [(1,)]])
def test_what_has_no_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        packed(value)


def test_nesting_ends_before_the_stack_does() -> None:
    deep: list[Any] = []
    for _ in range(250):
        deep = [deep]
    assert packed(deep) == b"\x91" * 250 + b"\x90"
    with pytest.raises(ValueError):
        packed([deep])
