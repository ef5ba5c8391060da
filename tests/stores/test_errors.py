"""Errors cross processes and machines: each comes out of a pickle as what it was."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

import stores.dynamodb.client
import stores.mongodb.change_stream  # noqa: F401 - it has an error class of its own
from stores.errors import OfframpError


def classes(root: type[OfframpError]) -> Iterator[type[OfframpError]]:
    """Yield the program's own classes: another test of this process may have made one."""
    if root.__module__.startswith(("flows.", "stores.", "mappers.")):
        yield root
    for each in root.__subclasses__():
        yield from classes(each)


@pytest.mark.parametrize("kind", [*classes(OfframpError)], ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_class_code_and_message_when_it_is_pickled(kind: type[OfframpError]) -> None:
    back = pickle.loads(pickle.dumps(kind("E-X", "why")))
    assert type(back) is kind
    assert (back.code, back.message, str(back)) == ("E-X", "why", "E-X why")
