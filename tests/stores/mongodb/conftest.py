"""Collections that the tests of the MongoDB source share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import bson
import pytest
from mongodbs import MIXED_IDS, Documents

from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import Limits


@pytest.fixture
def mixed(database: Documents) -> list[bytes]:
    """A collection `mixed` with an `_id` of every kind; the positions of its documents in order."""
    database.mixed.insert_many([{"_id": own, "at": number} for number, own in reversed([*enumerate(MIXED_IDS)])])
    return [bson.encode({"_id": own}) for own in MIXED_IDS]


@pytest.fixture
def in_threes(source: Callable[..., mongodb.CollectionSource]) -> Callable[..., mongodb.CollectionSource]:
    """Return the source of a collection, read in batches of three documents."""
    return partial(source, limits=Limits(batch_documents=3))


@pytest.fixture(params=["mongodb-index", "mongodb-expression", "mongodb-brackets", "other-brackets"])
def ranged(
    request: pytest.FixtureRequest, source: Callable[..., mongodb.CollectionSource]
) -> Callable[..., mongodb.CollectionSource]:
    """Return the source of a collection, read in batches of three documents by each way to ask for a range of `_id`.

    A server of the flavour `other` draws no sample and compares nothing in an aggregation.
    """
    flavour, _, way = str(request.param).partition("-")
    return partial(source, limits=Limits(batch_documents=3), only_way=way, flavour=flavour)
