"""`offramp state`: a plan's state moved from one database to another, such as from SQLite to PostgreSQL."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from flows.cli.options import PLAN
from flows.cli.signals import interruptible
from flows.quantities import counted
from flows.terminal import binary_stdout, echo
from stores.errors import PlanError

if TYPE_CHECKING:
    from stores.state.database import Database
    from stores.state.move_file import Header

FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
_STREAM = Path("-")


@click.group()
def state() -> None:
    """Move the state of a plan to another database, so that what was begun on one goes on on the other."""


@state.command()
@PLAN
@FILE
def export(plan_path: Path, file: Path) -> None:
    """Write the state of PLAN to FILE, `-` for standard output, and close it where it is.

    No run may be at work. Every later command refuses the state, because two states of one plan would lose documents:
    name the new place in `state` of PLAN, and import FILE there. FILE is for you alone to read: it may hold documents
    that were rejected.
    """
    from stores.state.state_export import export_state

    with _opened(plan_path) as database, interruptible() as stop, _written(file) as out:
        header = export_state(database, out, _name(file), stop)
    echo(
        f"{_what(header)} is exported to {_name(file)}; it is closed in {header.source}",
        f"next: name the new place in `state` of the plan, then run: offramp state import {plan_path} {file}",
        err=file == _STREAM,
    )


@state.command(name="import")
@PLAN
@FILE
def import_(plan_path: Path, file: Path) -> None:
    """Take the state of PLAN over from FILE, `-` for standard input, into the database that PLAN names.

    Either all of it is there afterwards, or nothing has changed. A state that has anything of the plan is left as it
    is, unless it was exported from there and comes back.
    """
    from stores.state.state_import import import_state

    with _opened(plan_path) as database, interruptible() as stop, _read(file) as source:
        header = import_state(database, source, _name(file), stop)
        place = database.place
    echo(f"{_what(header)}, exported {header.exported} from {header.source}, is now in {place}")
    if file != _STREAM:
        echo(f"delete {file}: it may hold personal data, and must not be imported a second time")


@state.command()
@PLAN
@click.option(
    "--never-imported",
    is_flag=True,
    help="Say that the file of the export was imported nowhere: two states of one plan lose documents.",
)
def reopen(plan_path: Path, never_imported: bool) -> None:
    """Take the state of PLAN back after an export, so that runs go on with it where it was."""
    from stores.state.state_export import reopen_state

    with _opened(plan_path) as database:
        was_closed = reopen_state(database, never_imported=never_imported)
        place = database.place
    echo(f"state {place} is open again; delete the file of the export" if was_closed else f"state {place} is open")


@contextmanager
def _opened(plan_path: Path) -> Iterator[Database]:
    from flows.plan.load import load
    from stores.state.database import Database

    plan = load(plan_path)
    database = Database(plan.state, plan.name)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """Give the new file, private from the start, or standard output; a file that is not whole is deleted."""
    from stores.private_paths import UnsafePathError, make_private_folder

    if file == _STREAM:
        try:
            yield binary_stdout()
        except BrokenPipeError:
            raise  # Its reader has said why.
        except OSError as error:
            raise _unusable(file, error) from error
        return
    try:
        make_private_folder(file.parent)
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise PlanError("E-STATE-FILE", f"{str(file)!r} is there already; name a file that is not") from None
    except UnsafePathError as error:
        raise PlanError("E-STATE-UNSAFE", f"{str(file)!r}: {str(error.filename)!r}: {error.strerror}") from error
    except OSError as error:
        raise _unusable(file, error) from error
    try:
        with open(opened, "wb") as out:
            os.fchmod(opened, 0o600)  # Whatever the umask took away.
            yield out
            os.fsync(opened)
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unusable(file, error) from error
        raise


@contextmanager
def _read(file: Path) -> Iterator[BinaryIO]:
    """Give the file, which nobody else may have changed, or standard input."""
    from stores.private_paths import fault

    if file == _STREAM:
        yield sys.stdin.buffer
        return
    try:
        with open(file, "rb") as source:
            if reason := fault(os.fstat(source.fileno())):
                raise PlanError("E-STATE-UNSAFE", f"{str(file)!r}: {reason}")
            yield source
    except OSError as error:
        raise _unusable(file, error) from error


def _unusable(file: Path, error: OSError) -> PlanError:
    if file == _STREAM:
        return PlanError("E-STATE-FILE", f"standard output cannot be written: {error.strerror or error}; export again")
    return PlanError("E-STATE-FILE", f"{str(file)!r} cannot be used: {error.strerror or error}; name another file")


def _name(file: Path) -> str:
    return "a pipe" if file == _STREAM else str(file.absolute())


def _what(header: Header) -> str:
    rows = sum(header.rows.values())
    return f"state of plan {header.plan!r} ({counted(header.rows.get('routes', 0), 'route')}, {counted(rows, 'row')})"
