"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from flows.quantities import counted, named, number, seconds


def test_thousands_have_a_space_between_them() -> None:
    assert [number(value) for value in (0, 999, 1_000, 1_234_567)] == ["0", "999", "1 000", "1 234 567"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 routes"), (1, "1 route"), (2, "2 routes"), (12_000, "12 000 routes")]
)
def test_a_noun_is_of_its_number(value: int, text: str) -> None:
    assert counted(value, "route") == text


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert (counted(1, "address", "addresses"), counted(3, "address", "addresses")) == ("1 address", "3 addresses")


def test_of_many_names_a_few_are_told() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([*"abcdef"]) == "a, b, c, d, e, f"
    assert named([*"abcdefg"]) == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (119.96, "120.0 s"),
        (121, "2 min 1 s"),
        (7_199, "119 min 59 s"),
        (7_200, "2 h 0 min"),
    ],
)
def test_a_duration_has_the_units_of_its_length(value: float | None, text: str) -> None:
    assert seconds(value) == text
