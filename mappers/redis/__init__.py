"""Redis: from a document to keys, and the names that a mapper of your own needs."""

from mappers.redis.collections import Entry, List, ListMapper, Set, SetMapper, SetMember, StreamMapper
from mappers.redis.geo import GeoMapper
from mappers.redis.json_document import Json, JsonMapper
from mappers.redis.records import CounterMapper, Hash, HashMapper, Member, SortedSetMapper, String, StringMapper

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
