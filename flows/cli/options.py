"""What commands share: their common options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flows.reporting.files import Folder

PLAN = click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
ROUTES = click.option("--route", "routes", metavar="ROUTE", multiple=True, help="Only this route; may be repeated.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")


class ReportFolder(click.ParamType[Any]):
    """A folder for the files of a report: a path, or ``s3://bucket/prefix``."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Folder:
        """Return the folder; raises PlanError for a URL of another kind."""
        if isinstance(value, str) and "://" in value:
            from flows.reporting.files import named_folder

            return named_folder(value, param.opts[0] if param else "--report")
        path: Path = click.Path(path_type=Path, file_okay=False).convert(value, param, ctx)
        return path


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
