"""The edge to users' code: whatever it raises becomes `Raised`, here and nowhere else.

A function of a user may raise anything, and that is its answer; it must reach neither our event loop nor our threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from astromesh.v1.values_pb2 import Failure
from astromesh_core.errors import AstromeshError, PermanentError
from astromesh_core.events.contents import text_content

Value = TypeVar("Value")

_LONGEST_MESSAGE = 2_000


class Raised(Exception):
    """Users' code raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error

    def failure(self) -> Failure:
        """The definite failure that this means: an error of ours as it is, any other as permanent. Never stack text."""
        if isinstance(self.error, AstromeshError):
            return failure_of(self.error)
        return failure_of(PermanentError(str(self)))


def attempt(call: Callable[[], Value]) -> Value:
    """Returns what users' code returns. Raises Raised, even where the code wants the process to exit."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise Raised(error) from error


async def attempt_async(call: Callable[[], Awaitable[Value]]) -> Value:
    """As `attempt`, for code that is awaited. A cancel of ours passes through to the code and back; one that the code
    raises by itself is its answer."""
    try:
        return await call()
    except (Exception, SystemExit) as error:
        raise Raised(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Raised(error) from error


def failure_of(error: AstromeshError) -> Failure:
    """A definite failure, as it is recorded and as the model reads it."""
    message = error.message.encode(errors="replace").decode()
    return Failure(
        error_class=error.code,
        message=text_content(message[:_LONGEST_MESSAGE]),
        retry_after_ms=round((error.retry_after or 0) * 1000),
    )
