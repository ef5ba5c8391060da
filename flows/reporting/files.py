"""The forms of a report and the files it is written to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flows.plan.model import Plan
from flows.reporting.html_page import as_html
from flows.reporting.markdown import as_markdown
from flows.reporting.model import Report
from flows.reporting.private_files import private_folder, write_private
from stores.errors import PlanError
from stores.private_paths import UnsafePathError, path_part


def default_folder(plan: Plan) -> Path:
    """Return the folder of a plan's reports where none is named: beside the plan, wherever the command runs."""
    return plan.path.absolute().parent / ".offramp" / "reports" / path_part(plan.name)


def refuse_unwritable(folder: Path, option: str = "--report") -> None:
    """Raise PlanError, which names the option, unless reports can be written safely to the folder, made if absent."""
    try:
        with private_folder(folder):
            pass
    except OSError as error:
        raise unwritable(folder, error, option) from error


def unwritable(folder: Path, error: OSError, option: str = "--report") -> PlanError:
    """Return the error of a folder that no report can be written to; `option` names the folder."""
    # What is wrong with an unsafe folder ends with what to name in its place.
    way_out = f" with {option}" if isinstance(error, UnsafePathError) else f"; name another folder with {option}"
    return PlanError("E-REPORT-DIR", f"the report cannot be written to {str(folder)!r}: {error.strerror}{way_out}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # What a store holds may be no Unicode.


FORMS: Mapping[str, Callable[[Report], bytes]] = {
    "json": Report.as_bytes,
    "md": lambda report: _encoded(as_markdown(report)),
    "html": lambda report: _encoded(as_html(report)),
}
"""The forms of a report that are files, by how their names end."""


def write(report: Report, folder: Path, forms: Iterable[str] = tuple(FORMS)) -> list[Path]:
    """The folder holds the report in these forms, each file whole or as it was; returns their paths.

    Only their owner may read the files: ids of documents are in them. Raises OSError for a folder that others could
    meddle with.
    """
    written = []
    with private_folder(folder) as place:
        for form in forms:
            write_private(place, f"report.{form}", FORMS[form](report))
            written.append(folder / f"report.{form}")
    return written
