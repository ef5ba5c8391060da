"""The former place of mappers.redis.json_document, which mappers of your own may still import from."""

from mappers.redis.json_document import Json

__all__ = ["Json"]
