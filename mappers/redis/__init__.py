"""Redis: from a document to keys, and the names that a mapper of your own needs."""

from mappers.redis.collections import ListMapper, SetMapper
from mappers.redis.geo import GeoMapper
from mappers.redis.hash import HashMapper
from mappers.redis.json_document import Json, JsonMapper
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from mappers.redis.sorted_set import SortedSetMapper
from mappers.redis.stream import StreamMapper
from mappers.redis.string import CounterMapper, StringMapper

__all__ = [
    "CounterMapper",
    "Entry",
    "GeoMapper",
    "Hash",
    "HashMapper",
    "Json",
    "JsonMapper",
    "List",
    "ListMapper",
    "Member",
    "Set",
    "SetMapper",
    "SetMember",
    "SortedSetMapper",
    "StreamMapper",
    "String",
    "StringMapper",
]
