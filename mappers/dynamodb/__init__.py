"""DynamoDB: from a document to items, and the names that a mapper of your own needs."""

from mappers.dynamodb.keys import Key
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Item, item, item_from_store

__all__ = ["Item", "ItemMapper", "Key", "item", "item_from_store"]
