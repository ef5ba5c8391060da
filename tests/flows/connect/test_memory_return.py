"""A large buffer that is free is no memory of the process any more, whichever thread had it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.connect.memory_return import LARGE_BYTES

# Each thread frees a large buffer, which teaches glibc to keep them, and then two more with a small one between them.
SCRIPT = """
import os, sys, threading
from flows.connect.memory_return import LARGE_BYTES, return_large_buffers

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def work():
    for _ in range(3):
        first = b"x" * (2 * LARGE_BYTES)
        kept.append(b"y" * 4096)
        second = b"z" * (2 * LARGE_BYTES)
        kept.append(b"y" * 4096)
        del first, second
    done.wait()
    over.wait()

if sys.argv[1] == "returned":
    assert return_large_buffers()
kept, done, over = [], threading.Barrier(5), threading.Event()
before = resident()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
done.wait()
print(resident() - before)
over.set()
"""


@pytest.mark.process
@pytest.mark.parametrize(("how", "least", "most"), [("kept", 4, 100), ("returned", 0, 1)])
def test_what_large_buffers_leave_behind(how: str, least: int, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=60)
    assert least <= int(done.stdout) // LARGE_BYTES <= most
