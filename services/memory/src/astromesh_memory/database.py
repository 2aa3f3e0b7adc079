"""The one thread that conversations are read and written in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from astromesh_memory.conversations import Conversations

Value = TypeVar("Value")


class Database:
    """Runs calls on the conversations, one after the other, in their order."""

    def __init__(self, conversations: Conversations, thread: ThreadPoolExecutor) -> None:
        self._conversations = conversations
        self._thread = thread

    async def run(self, call: Callable[[Conversations], Value]) -> Value:
        """Returns what the call returns. A caller that is cancelled leaves it running to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, self._conversations)


@asynccontextmanager
async def open_database(path: Path) -> AsyncGenerator[Database]:
    """Opens the file, or makes it; closes it after the last call."""
    with ThreadPoolExecutor(1, thread_name_prefix="memory") as thread:
        loop = asyncio.get_running_loop()
        conversations = await loop.run_in_executor(thread, Conversations, path)
        try:
            yield Database(conversations, thread)
        finally:
            await loop.run_in_executor(thread, conversations.close)
