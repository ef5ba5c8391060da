"""The owner of a lease: a process, distinct from every other one, even a later one with the same pid."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner_of_this_process() -> str:
    """Return this process: ``host/pid`` for people, then its process namespace and start time, which make it unique."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid} {_namespace()} {_started(pid)}"


def is_gone(owner: str) -> bool:
    """Return whether the owner ran on this machine, in our process namespace, and certainly runs no more.

    Returns False where that cannot be known.
    """
    name, _, rest = owner.partition(" ")
    host, _, pid = name.rpartition("/")
    namespace, _, started = rest.partition(" ")
    if host != socket.gethostname() or not namespace or namespace != _namespace() or not started:
        return False
    return _started(int(pid)) != started


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # No /proc: only time tells whether the owner is gone.


def _started(pid: int) -> str:
    """Return the process's start time in clock ticks since boot (proc(5), field 22), "" if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
