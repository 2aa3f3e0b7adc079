"""This process's standard streams as a client's: a message a line, and nothing else on stdout."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator


async def lines() -> AsyncIterator[bytes]:
    """What the client says, until it closes its end. Read in a thread that holds nobody up who leaves earlier."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(arrived.put_nowait, line)
        loop.call_soon_threadsafe(arrived.put_nowait, b"")

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while line := await arrived.get():
        yield line


def write(message: bytes) -> None:
    """Hands the client a message. Raises BrokenPipeError where it is gone."""
    sys.stdout.buffer.write(message + b"\n")
    sys.stdout.buffer.flush()
