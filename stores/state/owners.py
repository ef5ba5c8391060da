"""Who holds a lease: a process that can be told from any other, also from a later one of its number."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner_of_this_process() -> str:
    """Return who we are: ``host/pid`` for people, then the process namespace and start time to tell pids apart."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid} {_namespace()} {_started(pid)}"


def is_gone(owner: str) -> bool:
    """Tell whether the owner ran on this machine, in our process namespace, and certainly runs no more."""
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
