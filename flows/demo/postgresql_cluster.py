"""The data of an embedded PostgreSQL, made by a user that its programs run as: they refuse to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stores.errors import PermanentError

SUPERUSER = "postgres"
_OTHER_USER = "nobody"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the data and the programs are, and whom they belong to."""

    data: Path
    program: Path
    user: int | None
    """The user that the server runs as; None for the one of this process."""
    group: int | None


@contextmanager
def made_cluster(directory: Path, initdb: Path, password: str) -> Iterator[Cluster]:
    """Give a cluster whose superuser has this password; one whose data is in the directory already is taken as it is.

    Where this process is root's and another user cannot reach the directory, or the programs, they are in a temporary
    folder instead, which ends with the block.
    """
    if os.geteuid() != 0:
        yield _made(directory / "data", initdb, password, None, None)
        return
    other = pwd.getpwnam(_OTHER_USER)
    temporary = Path(tempfile.mkdtemp(prefix="offramp-postgresql-"))
    try:
        temporary.chmod(0o755)
        initdb = reachable_program(initdb, temporary)
        data = (directory if _reachable(directory) else temporary) / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            os.chown(data, other.pw_uid, other.pw_gid)
        yield _made(data, initdb, password, other.pw_uid, other.pw_gid)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def reachable_program(program: Path, folder: Path) -> Path:
    """Return the program of the embedded PostgreSQL where every user can run it: as it is, or a copy in the folder."""
    if _reachable(program):
        return program
    package = program.parents[2]
    # Its programs look for their libraries beside the package, where pip put them.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, symlinks=True)
    return folder / program.relative_to(package.parent)


def _made(data: Path, initdb: Path, password: str, user: int | None, group: int | None) -> Cluster:
    if not (data / "PG_VERSION").exists():
        # Not in an argument or a file, which others might read, but in a pipe of the user's own.
        read, write = os.pipe()
        if user is not None and group is not None:
            os.fchown(read, user, group)
        os.write(write, f"{password}\n".encode())
        os.close(write)
        command: Sequence[str] = (
            *(str(initdb), "--pgdata", str(data), "--username", SUPERUSER, "--pwfile", f"/dev/fd/{read}"),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
        )
        done = subprocess.run(  # noqa: S603
            command,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            cwd="/",
            pass_fds=[read],
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(read)
        if done.returncode:
            raise PermanentError(
                "E-DEMO-START", f"initdb ended with code {done.returncode}; it said:", done.stderr.splitlines()[-5:]
            )
    return Cluster(data, initdb.with_name("postgres"), user, group)


def _reachable(path: Path) -> bool:
    """Return whether every user may enter the folders that lead to the path."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents) and (
        not path.is_dir() or bool(path.stat().st_mode & stat.S_IXOTH)
    )
