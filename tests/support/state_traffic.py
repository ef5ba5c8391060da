"""What this process sends to states: transactions, and by which statements, counted where SQLAlchemy sends them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

_KIND = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@dataclass
class Traffic:
    """Transactions of this process since the counting began."""

    total: int = 0
    statements: list[str] = field(default_factory=list)
    """Every statement, without the SQL that begins and ends transactions; one for many rows is here once."""

    def about(self, table: str) -> Counter[str]:
        """Return how many statements of each kind, such as SELECT, name the table."""
        named = re.compile(rf"\b{table}\b")
        return Counter(
            found[1].upper() for text in self.statements if named.search(text) and (found := _KIND.match(text))
        )


@contextmanager
def counted_transactions() -> Iterator[Traffic]:
    """Give the traffic of all states of this process while the body lasts."""
    traffic = Traffic()

    def begun(_connection: Any) -> None:
        traffic.total += 1

    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _KIND.match(statement):
            traffic.statements.append(statement)

    sa.event.listen(sa.Engine, "begin", begun)
    sa.event.listen(sa.Engine, "before_cursor_execute", sent)
    try:
        yield traffic
    finally:
        sa.event.remove(sa.Engine, "begin", begun)
        sa.event.remove(sa.Engine, "before_cursor_execute", sent)
