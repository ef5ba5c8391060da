"""Large buffers go back to the system as soon as they are free.

glibc keeps a freed buffer for later ones: once a large one was freed, it takes every buffer up to 32 MB from a heap of
the thread's own, which seldom shrinks. What documents of 10 MB left there was several times their size
(docs/decisions.md).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

LARGE_BYTES = 4 << 20
"""A batch of ordinary documents is smaller: asking the system for each of its buffers would take longer."""
_M_MMAP_THRESHOLD = -3  # malloc.h


@cache
def return_large_buffers() -> bool:
    """Let each buffer from `LARGE_BYTES` on be mapped by itself; returns False where the C library is not glibc."""
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):  # Windows and macOS.
        library = None
    return library is not None and bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
