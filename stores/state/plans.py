"""The plans of runs, for workers that have no file of them: texts under their own digests, so each is kept once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.state.database import Database
from stores.state.tables import plan_contents, plans

MOST_VERSIONS = 50
"""Versions of a plan that are kept: those with which runs began last."""
_AT_ONCE = 500
"""Digests that a statement names."""


def digest_of(content: bytes) -> str:
    """Return the SHA-256 by which a content is on record."""
    return sha256(content).hexdigest()


class Plans:
    """The versions of one plan on record, each a manifest with contents that it names by their digests."""

    def __init__(self, database: Database) -> None:
        """Take the database; what is kept is under its own digest, so no lease guards it."""
        self._database = database

    def register(self, manifest: bytes, contents: Sequence[bytes]) -> str:
        """The version is on record with its contents; returns the digest of its manifest.

        What is there stays as it is, and what has been altered is put right. Of more than 50 versions those that were
        registered longest ago are forgotten, with the contents that no other version has.
        """
        digest = digest_of(manifest)
        plan = self._database.plan
        wanted = {digest_of(content): content for content in (manifest, *contents)}
        here = plans.c.plan == plan
        with self._database.writing() as db:
            # Registrations wait for one another: none forgets a content that another one counts on.
            db.execute(sa.select(plans.c.digest).where(here).with_for_update()).all()
            kept = self._contents(db, wanted)
            absent = [name for name, content in wanted.items() if kept.get(name) != content]
            rows = [{"plan": plan, "digest": name, "content": wanted[name]} for name in absent]
            self._database.upsert(db, plan_contents, rows)
            latest = db.execute(sa.select(sa.func.max(plans.c.used)).where(here)).scalar_one_or_none() or 0
            row = {"plan": plan, "digest": digest, "contents": " ".join(sorted(wanted)), "used": latest + 1}
            self._database.upsert(db, plans, [row])
            self._forget_old(db)
        return digest

    def contents(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Return the content under each of these digests, without those that are not on record or were altered."""
        with self._database.reading() as db:
            found = self._contents(db, digests)
        return {name: content for name, content in found.items() if digest_of(content) == name}

    def _contents(self, db: Connection, digests: Iterable[str]) -> dict[str, bytes]:
        names = [*digests]
        found: dict[str, bytes] = {}
        for start in range(0, len(names), _AT_ONCE):
            some = plan_contents.c.digest.in_(names[start : start + _AT_ONCE])
            query = sa.select(plan_contents.c.digest, plan_contents.c.content).where(
                plan_contents.c.plan == self._database.plan, some
            )
            # A value that is no bytes was not written here: SQLite keeps any type in any column.
            found.update((row.digest, row.content) for row in db.execute(query) if isinstance(row.content, bytes))
        return found

    def _forget_old(self, db: Connection) -> None:
        here = plans.c.plan == self._database.plan
        rows = db.execute(sa.select(plans).where(here).order_by(plans.c.used.desc(), plans.c.digest)).all()
        old = rows[MOST_VERSIONS:]
        if not old:
            return
        needed = {name for row in rows[:MOST_VERSIONS] for name in row.contents.split()}
        unneeded = sorted({name for row in old for name in row.contents.split()} - needed)
        db.execute(sa.delete(plans).where(here, plans.c.digest.in_([row.digest for row in old])))
        for start in range(0, len(unneeded), _AT_ONCE):
            some = plan_contents.c.digest.in_(unneeded[start : start + _AT_ONCE])
            db.execute(sa.delete(plan_contents).where(plan_contents.c.plan == self._database.plan, some))
