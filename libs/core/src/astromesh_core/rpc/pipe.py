"""A bounded pipe between two tasks of one loop: what carries a stream in process. A slow reader slows the writer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from astromesh_core.errors import AstromeshError

Item = TypeVar("Item")

CAPACITY = 4
"""Items under way. A few, so that writer and reader take turns in batches; not many, because a producer costs money."""


class Pipe(Generic[Item]):
    """One writer, one reader. Items are read in the order written; the end, or the failure, comes after the last."""

    __slots__ = ("_ended", "_failure", "_items", "_loop", "_reader", "_writer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Item] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._ended = False
        self._failure: AstromeshError | None = None

    @property
    def ended(self) -> bool:
        """True once nothing more will be written."""
        return self._ended

    async def put(self, item: Item) -> None:
        """Hands over an item; waits while the pipe is full."""
        while len(self._items) >= CAPACITY:
            self._writer = self._loop.create_future()
            await self._writer
        self._items.append(item)
        self._writer = _wake(self._writer)
        self._reader = _wake(self._reader)

    def end(self, failure: AstromeshError | None = None, *, at_once: bool = False) -> None:
        """Ends the stream, once: after what is in the pipe, or `at_once`, which drops that."""
        if self._ended:
            return
        self._ended, self._failure = True, failure
        if at_once:
            self._items.clear()
        self._reader = _wake(self._reader)

    async def get(self) -> Item:
        """The next item. Raises the failure, or StopAsyncIteration at the end, and again whenever asked."""
        while not self._items:
            if self._ended:
                raise self._failure or StopAsyncIteration
            self._reader = self._loop.create_future()
            await self._reader
        item = self._items.popleft()
        self._writer = _wake(self._writer)
        return item


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
