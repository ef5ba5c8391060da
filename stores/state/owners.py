"""The owner of a lease: a process, distinct from every other one, even a later one with the same pid."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

_OUTLIVED = "workers:"
"""Before the namespace of an owner whose workers may outlive it: so it equals no namespace, in any release."""
_ENDED = frozenset("ZXx")
"""The states (proc(5), field 3) of a process that runs no more and was not reaped by its parent."""


def owner_of_this_process(*, outlived: bool = False) -> str:
    """Return this process: ``host/pid`` for people, then what makes it unique.

    That is its process namespace, its start time, and the boot of its machine: names of hosts and numbers of namespaces
    are equal on many machines.

    With `outlived`, workers on other machines may go on when this process has ended, so that it is never `is_gone`.
    """
    pid = os.getpid()
    _, started = _look(pid, Path("/proc"))
    return f"{socket.gethostname()}/{pid} {_OUTLIVED if outlived else ''}{_namespace()} {started} {_boot()}".rstrip()


def parent_needed(owner: str) -> int | None:
    """Return the pid that must be the parent of this process for it to work for the owner; None where none must be.

    A lease is free as soon as its owner is gone. So its owner, and children that see it go, are all that may work
    under it, unless the owner is one that workers outlive.
    """
    name, _, rest = owner.partition(" ")
    pid = name.rpartition("/")[2]
    if rest.startswith(_OUTLIVED) or not pid.isdecimal() or int(pid) == os.getpid():
        return None
    return int(pid)


def is_gone(owner: str, proc: Path = Path("/proc")) -> bool:
    """Return whether the owner ran on this machine, in our process namespace, and certainly runs no more.

    Returns False where that cannot be known. `proc` is where the kernel shows the processes; it may hide those of other
    users (mount option ``hidepid``).
    """
    name, _, rest = owner.partition(" ")
    host, _, pid = name.rpartition("/")
    namespace, started, boot, *_ = [*rest.split(" "), "", "", ""]
    if host != socket.gethostname() or not namespace or namespace != _namespace() or not started:
        return False
    if boot and boot != _boot():  # Another machine of that name, or this one before it was started again.
        return False
    ended, found = _look(int(pid), proc)
    if not found:
        return not _exists(int(pid))
    return ended or found != started


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # No /proc: only time tells whether the owner is gone.


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # Owners of earlier releases have none either.


def _look(pid: int, proc: Path) -> tuple[bool, str]:
    """Return whether all threads of the process have ended, and its start time in clock ticks since boot.

    The start time is "" for a process that is not shown. See proc(5), fields 3, 20 and 22 of ``/proc/<pid>/stat``.
    """
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False, ""
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # The first thread may have ended before the others, which still write.
    return state in _ENDED and threads <= 1, started


def _exists(pid: int) -> bool:
    """Return whether there is a process of this number, seen or hidden."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is another user's.
        pass
    return True
