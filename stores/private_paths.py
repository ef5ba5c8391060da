"""Files and folders that are their owner's alone: made so whatever the umask, and refused where others can meddle."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_LONGEST_PART_BYTES: Final = 200
_NO_PART: Final = re.compile(r"[/\\%\x00-\x1f\x7f]|^\.|^~")


class UnsafePathError(PermissionError):
    """Another user could read, change or replace the file or the folder; the text says why and what to do."""


def fault(found: os.stat_result, *, is_folder: bool = False) -> str:
    """Return why others could meddle with what has this status, and what to do; "" where they cannot.

    A folder may be root's too. A group in which there is nobody else, as many systems give each user one, may write.
    """
    own = {os.geteuid(), 0} if is_folder else {os.geteuid()}
    if found.st_uid not in own:
        return "it belongs to another user; run as that user, or name another place in a folder of your own"
    if found.st_mode & stat.S_IWOTH:
        return f"every user may write to it; {_way_out(found, 'chmod o-w')}"
    if found.st_mode & stat.S_IWGRP and _has_others(found.st_gid):
        return f"its group may write to it; {_way_out(found, 'chmod g-w')}"
    return ""


def make_private_folder(folder: Path) -> None:
    """The folder is there and is this user's alone to write to; what is missing of it is made with mode 0700.

    Raises UnsafePathError for a folder that others can meddle with, OSError where it cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    for each in reversed(missing):
        with suppress(FileExistsError):  # Another run has just made it.
            os.mkdir(each, 0o700)
            os.chmod(each, 0o700)  # Whatever the umask took away.
    _refuse(folder, folder.stat(), is_folder=True)


def make_private_file(path: Path) -> None:
    """The file is there, empty if it was not, and this user alone may read it; nothing of a present file is opened.

    A link is not followed to make a file; one that leads to a file of this user, in a folder of this user, is. Raises
    UnsafePathError for a file or a folder that others can meddle with, OSError where it cannot be made.
    """
    make_private_folder(path.parent)
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _take(path)
        return
    try:
        os.fchmod(made, 0o600)  # Whatever the umask took away.
    finally:
        os.close(made)


def refuse_unsafe_file(path: Path) -> None:
    """Raise UnsafePathError if there is a file, or anything else, at the path that others can meddle with."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise UnsafePathError(errno.EPERM, "it is a link, or no file; remove it", str(path))
        _refuse(path, found)


def path_part(name: str) -> str:
    """Return the name as one part of a path that leads nowhere else; a usual name stays as it is."""
    part = _NO_PART.sub(lambda found: f"%{ord(found[0]):02X}", name) or "%"
    encoded = part.encode("utf-8", "surrogateescape")
    if len(encoded) <= _LONGEST_PART_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:32]
    return f"{encoded[: _LONGEST_PART_BYTES - 40].decode('utf-8', 'ignore')}-{digest}"


def _take(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        _refuse(path, found)
        target = path.resolve()
        if not target.exists():
            raise UnsafePathError(
                errno.ELOOP, "it is a link to a file that is not there; name the file itself", str(path)
            )
        _refuse(target.parent, target.parent.stat(), is_folder=True)
        path, found = target, target.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _refuse(path, found)
    os.chmod(path, 0o600)


def _refuse(path: Path, found: os.stat_result, *, is_folder: bool = False) -> None:
    # The mode of a link says nothing: its folder decides who may replace it.
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (os.geteuid(), 0):
            raise UnsafePathError(errno.EPERM, "it is a link of another user; name the file itself", str(path))
    elif reason := fault(found, is_folder=is_folder):
        raise UnsafePathError(errno.EPERM, reason, str(path))


def _way_out(found: os.stat_result, command: str) -> str:
    """Return what to do about a file or folder of this status that others may write to.

    The command is no advice for a folder of root's, or for one with the sticky bit, such as /tmp: others need it so.
    """
    elsewhere = "name another place in a folder of your own"
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
        return elsewhere
    return f"run {command} on it, or {elsewhere}"


def _has_others(group: int) -> bool:
    """Return whether the system knows a member of the group who is not this user."""
    me = os.geteuid()
    try:
        members = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(group).gr_mem}
    except KeyError:
        members = set()  # A group without a name, such as the one that a container's volume is given.
    members |= {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    return bool(members - {me, 0})
