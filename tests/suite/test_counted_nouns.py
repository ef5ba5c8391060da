"""No message has `1 routes` or `12000 documents`: a number before its noun comes from `flows.quantities.counted`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOWS = Path(__file__).parents[2] / "flows"
_PLURAL = re.compile(
    r" (?:[a-z]+ )?(?:addresses|changes|documents|keys|partitions|records|rejects|routes|values)\b(?! or goes)"
)
_WITHOUT_A_NUMBER = re.compile(r"name|more|synced|.*\.sync")
"""Expressions in messages that are words, or a number whose noun is always plural."""


def bare_numbers(code: str) -> Iterator[str]:
    """Yield each expression of a formatted text that stands before a plural noun and is not counted."""
    for text in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.JoinedStr)):
        for value, behind in zip(text.values, text.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(behind, ast.Constant):
                continue
            expression = ast.unparse(value.value)
            if _PLURAL.match(str(behind.value)) and not _WITHOUT_A_NUMBER.fullmatch(expression):
                yield f"{{{expression}}}{str(behind.value)[:30]}"


@pytest.mark.parametrize("path", sorted(FLOWS.rglob("*.py")), ids=lambda path: str(path.relative_to(FLOWS)))
def test_numbers_of_messages_are_counted(path: Path) -> None:
    assert list(bare_numbers(path.read_text("utf-8"))) == []


def test_a_number_that_is_not_counted_is_found() -> None:
    assert list(bare_numbers("print(f\"{n} routes, {number(m)} rejected documents, {counted(k, 'key')} keys\")")) == [
        "{n} routes, ",
        "{number(m)} rejected documents, ",
        "{counted(k, 'key')} keys",
    ]
