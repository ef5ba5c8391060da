# rows.py
import json

from offramp_sqlite import Row

from mappers.identity import identity


def row(document, *, fields):
    """One row for each document: the named fields as JSON."""
    kept = {name: document.get(name) for name in fields}
    yield Row(identity(document), json.dumps(kept).encode())
