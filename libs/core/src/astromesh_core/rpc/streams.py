"""Reading a stream so that leaving it early stops whoever produces it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
import grpc.aio

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@asynccontextmanager
async def reading(call: grpc.aio.UnaryStreamCall[Request, Reply]) -> AsyncGenerator[AsyncIterator[Reply]]:
    """The replies of a call, which is cancelled when the block is left, by whatever way:

    `async with reading(stub.Complete(request)) as parts: async for part in parts: ...`
    """
    try:
        yield aiter(call)
    finally:
        call.cancel()
