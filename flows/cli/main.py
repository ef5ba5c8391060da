"""The command line. Everything heavy is imported by the command that needs it: `--help` answers at once."""

from __future__ import annotations

import io
import sys
import traceback
from typing import NoReturn

import click

from flows import exit_codes
from flows.cli.backfill import backfill
from flows.cli.check import check
from flows.cli.demo import demo
from flows.cli.deploy import deploy
from flows.cli.explain import explain
from flows.cli.options import VERBOSE, taking_verbose
from flows.cli.rejects import rejects
from flows.cli.repair import repair
from flows.cli.report import report
from flows.cli.signals import end_if_signalled, signal_code
from flows.cli.state import state
from flows.cli.status import status
from flows.cli.sync import sync
from flows.cli.verify import verify
from flows.connect.gc_tuning import collect_seldom
from flows.plan.references import PREFECT_SECRET, add_secret_store
from flows.terminal import echo, guarded, print_json
from flows.visible_text import visible
from stores.errors import OfframpError, origin


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mongo-offramp", prog_name="offramp")
@VERBOSE
def offramp() -> None:
    """Retire a MongoDB: move each collection to the store that suits it, and prove what arrived.

    Exit codes: 0 clean, or copied with changes to sync; 1 finished with rejects or mismatches; 2 the plan or the usage
    is wrong, nothing was written; 3 a store failed or another run is at work, the same command resumes; 4 stopped at a
    checkpoint with more rejects than the plan allows; 130 and 143 stopped by a signal at a checkpoint, the same command
    resumes.
    """


def _read_secret(name: str) -> str:
    """Return a secret that a plan names; Prefect is imported only for a plan that names one."""
    from flows.orchestration.secret_blocks import read_secret

    return read_secret(name)


add_secret_store(PREFECT_SECRET, _read_secret)
for _command in (check, backfill, verify, sync, status, explain, demo, rejects, repair, deploy, report, state):
    offramp.add_command(taking_verbose(_command))


def main() -> None:
    """Run the command line; prints every error and exits with the code for it."""
    try:
        with guarded():
            _run()
    finally:
        end_if_signalled()


def _run() -> None:
    try:
        with collect_seldom():  # What is imported is no garbage: a tenth of starting was looking for some.
            offramp(standalone_mode=False)
    except click.ClickException as error:
        _show_usage(error)
        _fail("E-USAGE", error.format_message(), exit_codes.REFUSED)
    except click.Abort:
        echo("offramp: ended at once; the same command resumes", err=True)
        sys.exit(exit_codes.INTERRUPTED)
    except OfframpError as error:
        from stores.contract.stop import STOPPED  # With the stores' contracts, which `--help` does not need.

        first, *rest = error.lines
        echo(f"offramp: {first}", *rest, err=True)
        code = signal_code() if error.code == STOPPED else 0
        _fail(error.code, error.message, code or exit_codes.of_error(error))
    except Exception as error:  # noqa: BLE001 - Python would end with 1, which says "finished with rejects"
        message = f"unexpected {origin(error)}; the same command resumes"
        echo(f"offramp: {message}", err=True)
        if "-v" in sys.argv or "--verbose" in sys.argv:
            echo(*traceback.format_exc().splitlines(), err=True)
        _fail("E-INTERNAL", message, exit_codes.FAILED)


def _show_usage(error: click.ClickException) -> None:
    """The error is on standard error with the usage of its command; what was typed is in it on one line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # Its message is the help, and nothing was typed.
        echo(*error.format_message().split("\n"), err=True)
        return
    shown = io.StringIO()
    error.show(shown)
    message = error.format_message()
    echo(*shown.getvalue().rstrip("\n").replace(message, visible(message)).split("\n"), err=True)


def _fail(code: str, message: str, exit_code: int) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"error": {"code": code, "message": message}})
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
