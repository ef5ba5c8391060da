"""The deepest place of a document, found without recursion."""

from __future__ import annotations

from typing import Any

from mappers.documents.depth import MOST_LEVELS, deepest


def test_the_deepest_value_is_named_by_its_path() -> None:
    assert deepest({}) == (1, "")
    assert deepest({"a": 1, "b": "x"}) == (1, "")
    assert deepest({"a": {"b": [{}, [1]]}, "c": {}}) == (4, "a.b.1")


def test_a_document_deeper_than_python_recurses_is_measured() -> None:
    document: Any = 1
    for _ in range(5_000):
        document = {"o": document}
    levels, path = deepest(document)
    assert (levels, path.count("o")) == (5_000, 4_999)
    assert levels > MOST_LEVELS
