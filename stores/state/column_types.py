"""The types of a state's columns: each keeps the same values, and sorts them the same way, in every database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from stores.masking import masked

Binary = sa.LargeBinary
Seconds: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.Float, "sqlite")
"""Seconds since 1970, or a duration, to the microsecond."""
Count = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A number that may pass 2^31, or one that the database gives a new row."""


class Text(sa.TypeDecorator[str]):
    """Text that sorts by its code points.

    PostgreSQL's text holds no NUL, and sorts by the language of the database. So there a NUL is U+0001 U+0001, U+0001
    is U+0001 U+0002, which keeps the order, and the collation is that of bytes.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Return the database's own type."""
        return sa.Text(collation="C") if dialect.name == "postgresql" else sa.Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text as the database keeps it."""
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text that `process_bind_param` took."""
        if value is None or dialect.name != "postgresql" or "\x01" not in value:
            return value
        return value.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")


class Words(Text):
    """Text of a server, a driver or a person, kept without secrets of the plan."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text without secrets, as the database keeps it."""
        return super().process_bind_param(None if value is None else masked(value), dialect)
