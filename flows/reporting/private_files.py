"""Files that only their owner may read, written whole into a folder that nobody else can meddle with."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def private_folder(folder: Path) -> Iterator[int]:
    """Give a descriptor of the folder, which is made with mode 0700 if it is not there, while the body lasts.

    Raises OSError if it cannot be made or written to, is another user's, or may be written to by everybody: then
    others could put their own file or link in the place of one that is written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "every user may write to it (run chmod o-w on it)", str(folder))
        if not os.access(".", os.W_OK, dir_fd=descriptor):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(folder: int, name: str, content: bytes) -> None:
    """The folder with this descriptor holds a file of this name with this content and mode 0600, or what it held.

    The file takes the place of what had its name. A link of that name is replaced and never followed.
    """
    draft = f".{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
