"""Commands as a user without any rights, where the tests themselves run as root."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from shlex import quote

NOBODY = 65_534


def as_user(user: int, scratch: Path, *command: str) -> list[str]:
    """Return the command as this user runs it, who finds the interpreter and its packages wherever root has them.

    What only root may enter on the way is another folder for the command alone, with nothing but those in it. The
    scratch folder is an empty one.
    """
    become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", *command)
    needed = sorted({Path(each).resolve() for each in (sys.prefix, sys.base_prefix, *sys.path) if Path(each).is_dir()})
    closed = {top: [each for each in needed if each.is_relative_to(top)] for top in map(_closed, needed) if top}
    if not closed:
        return [*become]
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*_shows(closed, scratch), 'exec "$@"']), "sh", *become]


def _shows(closed: dict[Path, list[Path]], scratch: Path) -> Iterator[str]:
    """Yield the commands that put folders that others may enter in the place of these, with what is needed of each."""
    kept = {each: scratch / str(number) for number, each in enumerate(dict.fromkeys(chain(*closed.values())))}
    yield f"mount -t tmpfs -o mode=0700 none {quote(str(scratch))}"
    for each, at in kept.items():
        yield f"mkdir {quote(str(at))} && mount --bind {quote(str(each))} {quote(str(at))}"
    for top in closed:
        yield f"mount -t tmpfs -o mode=0755 none {quote(str(top))}"
    for each, at in kept.items():
        yield f"mkdir -p {quote(str(each))} && mount --bind {quote(str(at))} {quote(str(each))}"


def _closed(folder: Path) -> Path | None:
    """Return the first folder on the way to this one that others may not enter, None where they may enter all."""
    way = (*reversed(folder.parents), folder)
    return next((each for each in way if not each.stat().st_mode & stat.S_IXOTH), None)
