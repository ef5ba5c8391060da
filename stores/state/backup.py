"""A copy of an SQLite state beside it, made before the state is changed for good."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from stores.errors import PlanError


def keep_copy(path: Path, suffix: str) -> Path:
    """Return the new file beside the state that holds what is committed of it, for this user alone to read.

    It is named `<state>.<suffix>`, with a number behind that where such a copy is there already; none is overwritten.
    Call it by one process at a time, such as the one in a write transaction. Raises PlanError E-STATE-BACKUP, and
    leaves nothing behind, if it cannot be made.
    """
    path = path.resolve()
    unfinished = path.with_name(f"{path.name}.{suffix}.part")
    try:
        unfinished.unlink(missing_ok=True)  # Of a process that was killed here.
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            _copy(path, unfinished)
            kept = _free_name(path, suffix)
            os.rename(unfinished, kept)
            _sync(path.parent)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PlanError(
            "E-STATE-BACKUP",
            f"state {str(path)!r} is not upgraded, because no copy of it can be made in its folder: {reason}. Make room"
            f" for {_size_mb(path)} MB in {str(path.parent)!r}, or the folder writable, and run the same command",
        ) from error
    return kept


def _copy(path: Path, to: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to, isolation_level=None)) as target:
        # A journal would be left behind by a kill, and taken for one of the next copy.
        target.execute("PRAGMA journal_mode=OFF")
        source.backup(target)
    _sync(to)


def _free_name(path: Path, suffix: str) -> Path:
    name, number = path.with_name(f"{path.name}.{suffix}"), 1
    while os.path.lexists(name):
        number += 1
        name = path.with_name(f"{path.name}.{suffix}-{number}")
    return name


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _size_mb(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size // 1_000_000 + 1
    return 1
