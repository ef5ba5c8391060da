"""The way back from a record of a lossless route: the document's BSON, byte by byte."""

from __future__ import annotations

import base64
import binascii

import orjson

from mappers.contract import Record
from mappers.dynamodb.records import RAW as ITEM_RAW
from mappers.dynamodb.records import Item
from mappers.elasticsearch.records import RAW as SOURCE_RAW
from mappers.elasticsearch.records import IndexDocument
from mappers.redis.hash import HASH_RAW
from mappers.redis.json_document import Json
from mappers.redis.records import Hash, String
from mappers.redis.string import STRING_RAW


def restore(record: Record) -> bytes:
    """Return the BSON of the document that `fidelity: lossless` made this record from.

    Raises ValueError for a record that does not hold it.
    """
    try:
        match record:
            case Item():
                return _bytes(orjson.loads(record.body)[ITEM_RAW]["B"])
            case String() | Json():
                return _bytes(orjson.loads(record.value)[STRING_RAW])
            case Hash():
                return dict(record.fields)[HASH_RAW.encode()]
            case IndexDocument():
                return _bytes(orjson.loads(record.source)[SOURCE_RAW])
            case _:
                raise ValueError(f"a {type(record).__name__} holds no whole document")
    except (KeyError, TypeError, AttributeError, binascii.Error, orjson.JSONDecodeError):
        raise ValueError("the record holds no BSON; was it written with fidelity: lossless?") from None


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
