"""What commands share: their common options, and signals that stop at a checkpoint."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from flows.terminal import echo

if TYPE_CHECKING:
    from stores.contract.stop import Stop

PLAN = click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
ROUTES = click.option("--route", "routes", metavar="ROUTE", multiple=True, help="Only this route; may be repeated.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")


def _log_steps(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from flows.run.logs import to_stderr

        to_stderr()


VERBOSE = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_log_steps,
    help="Log each step to standard error; on an unexpected error, show where it happened.",
)


def taking_verbose(command: click.Command) -> click.Command:
    """Return the command after adding -v to it and to its subcommands: it is taken before and after their names."""
    for subcommand in command.commands.values() if isinstance(command, click.Group) else ():
        taking_verbose(subcommand)
    return VERBOSE(command)


_signalled: list[int] = []


def leave(code: int) -> NoReturn:
    """End with this code, or with that of the signal that stopped the work."""
    sys.exit(signal_code() or code)


def signal_code() -> int:
    """Return the exit code of the signal that stopped the work, 0 where none did."""
    return 128 + _signalled[0] if _signalled else 0


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a stop at the next checkpoint, a second signal into an exit at once."""
    from stores.contract.stop import PROCESS_STOP  # With the stores' contracts, which `--help` does not need.

    def note(number: int, _frame: object) -> None:
        if _signalled:
            os._exit(128 + number)
        _signalled.append(number)
        PROCESS_STOP.set()
        echo("stopping at the next checkpoint; the same command resumes (a second signal stops at once)", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield PROCESS_STOP
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
