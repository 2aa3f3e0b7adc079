"""The threads of one blocking library, awaited from the event loop. Knows nothing of what it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class WorkerThread:
    """Runs calls one after the other in a thread of its own, so what they touch needs no lock; in more, some at once.

    A thread starts with the first call. A caller that is cancelled stops waiting; a call that has begun still ends,
    and one that has not begun is dropped.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def call(self, work: Callable[[], T]) -> T:
        """The result of `work`, begun after everything that was handed in earlier. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def close(self) -> None:
        """Waits for the calls handed in so far, then ends the thread. A later call raises RuntimeError. Idempotent."""
        await asyncio.to_thread(self._pool.shutdown)
