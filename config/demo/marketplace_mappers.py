"""The demo's own mapper: a plan names it as `use: marketplace_mappers.py:proposals`.

A mapper is a function from one document to the records it becomes. It touches no store, so it can be tried at a Python
prompt. To refuse a document it raises mappers.contract.MappingError; to drop one on purpose it gives no record.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mappers.dynamodb import Item, Key, item
from mappers.identity import encode, identity

# The same names stand in the plan under `key`; there they create the table.
KEY = Key(partition="project", sort="proposal")


def proposals(document: Mapping[str, Any], *, skip: Sequence[str] = ()) -> Iterable[Item]:
    """Give each proposal as an item under its project, so that one query lists a project's proposals.

    Proposals in a state named in `skip` are dropped. The sort key is the whole typed `_id`, which no two documents
    share: with a shorter one, such as the date, two proposals could meet at one address and one of them be lost.
    """
    if document.get("state") in skip:
        return
    values = {name: value for name, value in document.items() if name not in ("_id", "project_id")}
    values["project"] = encode(document["project_id"])
    values["proposal"] = identity(document)
    yield item(values, KEY)
