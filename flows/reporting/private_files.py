"""Files that only their owner may read, written whole into a folder that nobody else can meddle with."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stores.private_paths import UnsafePathError, fault, make_private_folder


@contextmanager
def private_folder(folder: Path) -> Iterator[int]:
    """Give a descriptor of the folder, which is made with mode 0700 if it is not there, while the body lasts.

    Raises OSError if it cannot be made or written to, is another user's, or may be written to by others: then
    others could put their own file or link in the place of one that is written.
    """
    make_private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if reason := fault(os.fstat(descriptor), is_folder=True):
            raise UnsafePathError(errno.EPERM, reason, str(folder))
        if not os.access(".", os.W_OK, dir_fd=descriptor):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        yield descriptor
    finally:
        os.close(descriptor)


def would_be_private(folder: Path) -> None:
    """Return if the folder, which is not there, could be made; raises OSError otherwise. Makes nothing."""
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{str(above)!r} may not be written to", str(above))


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
