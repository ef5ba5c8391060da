"""The former place of mappers.redis.collections, which mappers of your own may still import from."""

from mappers.redis.records import Entry, List, Set, SetMember

__all__ = ["Entry", "List", "Set", "SetMember"]
