"""The format of a state: made new as this release has it, upgraded from an earlier one, refused if it is later."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata as distributions
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.errors import PlanError, TransientError
from stores.state.owners import is_gone
from stores.state.tables import leases, meta, metadata, revisions

FORMAT = "3"
"""The format of this release: the last revision in stores/state/revisions."""
_UPGRADED = ("2",)
_REVISIONS = Path(__file__).with_name("revisions")


class Format(NamedTuple):
    """What a state says of itself."""

    number: str
    release: str
    """The release that made it, or upgraded it to this format; "" where none is on record."""


class NotReadyError(PlanError):
    """The state has not the tables of this release. The text says what it is, and what the next run does with it."""


def is_current(db: Connection, place: str) -> bool:
    """Return whether the state has the format of this release, False where it is to be made or upgraded.

    `place` names the state in messages. Raises PlanError E-STATE-VERSION for a format that cannot be upgraded.
    """
    found = _read_format(db)
    if found is not None and found.number != FORMAT:
        _refuse_unknown(found, place)
    return found is not None and found.number == FORMAT


def refuse_unready(db: Connection, place: str) -> None:
    """Return if the state can be read as it is; raises NotReadyError where it is to be made or upgraded."""
    if not is_current(db, place):
        found = _read_format(db)
        what = "empty yet; a run makes it" if found is None else f"{_describe(found)}; the next run upgrades it"
        raise NotReadyError("E-STATE-UPGRADE", what)


def bring_up_to_date(db: Connection, place: str, now: float, before_upgrade: Callable[[Format], None]) -> Format | None:
    """The state has the format of this release, in the transaction `db`; returns the format that it was upgraded from.

    Returns None if nothing was upgraded. The transaction keeps every other writer out, and its default schema is that
    of the state. `now` is the database's time. `before_upgrade` is called while the state is still what it was. Raises
    PlanError E-STATE-VERSION for a format that cannot be upgraded, and TransientError E-STATE-UPGRADE while a run of an
    earlier release is at work.
    """
    found = _read_format(db)
    if found is None:
        metadata.create_all(db)
        db.execute(sa.insert(revisions).values(version_num=FORMAT))
        _note_format(db)
        return None
    if found.number == FORMAT:
        return None
    _refuse_unknown(found, place)
    _refuse_while_leased(db, found, place, now)
    before_upgrade(found)
    _run_revisions(db)
    # A paused run of the earlier release could renew its lease and go on, by the rules of its own format.
    db.execute(sa.update(leases).values(owner="", expires=0.0, fence=leases.c.fence + 1))
    _note_format(db)
    return found


def _read_format(db: Connection) -> Format | None:
    """Return the format of the state, None if it has none yet."""
    if not _has(db, meta):
        return None
    kept = {row.key: row.value for row in db.execute(sa.select(meta))}
    return Format(kept["schema"], kept.get("release") or "") if kept.get("schema") else None


def _describe(found: Format) -> str:
    return f"has format {found.number}, of {f'release {found.release}' if found.release else 'another release'}"


def _refuse_unknown(found: Format, place: str) -> None:
    if found.number not in _UPGRADED:
        raise PlanError(
            "E-STATE-VERSION",
            f"state {place!r} {_describe(found)}; this release ({release()}) has format {FORMAT}, and upgrades format"
            f" {', '.join(_UPGRADED)}. Install the release that wrote it, or name another place in `state`",
        )


def _run_revisions(db: Connection) -> None:
    # Imported where it is needed: it takes a quarter of a second, and most states need no upgrade.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(_REVISIONS, version_locations=[_REVISIONS])
    context = MigrationContext.configure(
        db, opts={"script": script, "fn": lambda heads, _context: script._upgrade_revs("head", heads)}
    )
    # The revisions get their operations by argument: the module alembic.op is one for all threads of a process.
    context.run_migrations(op=Operations(context))


def _refuse_while_leased(db: Connection, found: Format, place: str, now: float) -> None:
    if not _has(db, leases):
        return
    query = sa.select(leases.c.plan, leases.c.route, leases.c.owner, leases.c.expires)
    # The locks wait for what runs have under way.
    for row in db.execute(query.with_for_update()).all():
        left_s = row.expires - now
        if row.owner and left_s > 0 and not is_gone(row.owner):
            raise TransientError(
                "E-STATE-UPGRADE",
                f"state {place!r} has format {found.number}, and a run of the release that made it"
                f" ({row.owner.partition(' ')[0]}) is working on route {row.route} of plan {row.plan}; wait until it"
                f" ends, or stop it, then run the same command (its lease expires in {left_s:.0f} s if it is dead)",
            )


def _has(db: Connection, table: sa.Table) -> bool:
    schemas = db.get_execution_options().get("schema_translate_map") or {}
    return sa.inspect(db).has_table(table.name, schema=schemas.get(None))


def _note_format(db: Connection) -> None:
    for key, value in (("schema", FORMAT), ("release", release())):
        if not db.execute(sa.update(meta).where(meta.c.key == key).values(value=value)).rowcount:
            db.execute(sa.insert(meta).values(key=key, value=value))


def release() -> str:
    """Return the version of this release."""
    try:
        return distributions.version("mongo-offramp")
    except distributions.PackageNotFoundError:
        return "unknown"
