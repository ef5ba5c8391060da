"""The forms of a report, and the folder or the place in S3 that its files are written to."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from flows.plan.load import StatePlace
from flows.plan.model import Plan
from flows.reporting.html_page import as_html
from flows.reporting.markdown import as_markdown
from flows.reporting.model import Report
from flows.reporting.private_files import private_folder, write_private
from stores.errors import OfframpError, PlanError
from stores.private_paths import UnsafePathError, path_part
from stores.s3_folder import SCHEME, S3Folder

Folder = Path | S3Folder
"""Where the files of a report go."""


def named_folder(name: str, option: str = "--report") -> Folder:
    """Return the folder of this name: a path, or ``s3://bucket/prefix``.

    Raises PlanError, which names the option, for another URL.
    """
    if "://" not in name:
        return Path(name)
    try:
        return S3Folder(name, option)
    except ValueError:
        shown = name.rpartition("@")[2] if "@" in name else name
        raise PlanError(
            "E-REPORT-DIR", f"found the folder {shown!r}; write a path or {SCHEME}bucket/prefix with {option}"
        ) from None


def default_folder(plan: Plan | StatePlace) -> Path:
    """Return the folder of a plan's reports where none is named: beside the plan, wherever the command runs."""
    return plan.path.absolute().parent / ".offramp" / "reports" / path_part(plan.name)


def refuse_unwritable(folder: Folder, option: str = "--report") -> None:
    """Raise PlanError, which names the option, unless reports can be written safely to the folder.

    A folder that is absent is made; in S3 nothing is written.
    """
    try:
        if isinstance(folder, S3Folder):
            _in_s3(folder, lambda: folder.check(_name("json")))
        else:
            with private_folder(folder):
                pass
    except OSError as error:
        raise unwritable(folder, error, option) from error


def unwritable(folder: Folder, error: OSError, option: str = "--report") -> PlanError:
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
_CONTENT_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


def write(report: Report, folder: Folder, forms: Iterable[str] = tuple(FORMS)) -> list[str]:
    """The folder holds the report in these forms, each file whole or as it was; returns their paths or URLs.

    Only their owner may read the files: ids of documents are in them. In S3 the bucket's own rules say who may, and
    report.json, which the others belong to, is written last. Raises OSError for a folder that others could meddle with,
    and where a file cannot be written.
    """
    contents = {_name(form): (FORMS[form](report), _CONTENT_TYPES[form]) for form in forms}
    if isinstance(folder, S3Folder):
        for name in sorted(contents, key=lambda name: (name == _name("json"), name)):
            content, content_type = contents[name]
            _in_s3(folder, partial(folder.put, name, content, content_type))
        return [folder.url_of(name) for name in contents]
    with private_folder(folder) as place:
        for name, (content, _) in contents.items():
            write_private(place, name, content)
    return [str(folder / name) for name in contents]


def _name(form: str) -> str:
    return f"report.{form}"


def _in_s3(folder: S3Folder, ask: Callable[[], None]) -> None:
    """Ask S3; raises OSError, as for a folder of this machine, with what keeps it from the answer."""
    try:
        ask()
    except OfframpError as error:
        raise OSError(errno.EIO, error.message, str(folder)) from error
