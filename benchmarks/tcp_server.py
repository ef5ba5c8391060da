"""A TCP server of the benchmark: it prints the port on which it listens, and ends with the process that started it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_BUFFER_BYTES = 2**20


async def serve(port: int, converse: Converse) -> None:
    """Hold conversations until standard input ends; the first line of output names the port, a free one for 0."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has gone.
        finally:
            writer.close()

    listening = await asyncio.start_server(hold, "127.0.0.1", port, limit=_BUFFER_BYTES)
    threading.Thread(target=_end_with_input, daemon=True).start()
    print(f"ready {listening.sockets[0].getsockname()[1]}", flush=True)
    await listening.serve_forever()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
