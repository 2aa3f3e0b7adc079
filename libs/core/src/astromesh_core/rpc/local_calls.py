"""Calls under way inside this process, as their caller holds them: await or iterate, cancel, or leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, Self, TypeVar

from astromesh_core.errors import AstromeshError, Bug, TimedOut, Unavailable
from astromesh_core.rpc.pipe import Pipe

Reply = TypeVar("Reply")

Running = asyncio.Task[None]
Perform = Callable[[], Coroutine[Any, Any, Reply]]
"""The servicer's work, started in its task. It raises our errors only."""


class LocalUnaryCall(Generic[Reply]):
    """A call with one reply. It runs whether or not it is awaited; cancelling whoever awaits it cancels it."""

    __slots__ = ("_failure", "_method", "_reply", "_running", "_settled", "_task", "_timer")

    def __init__(
        self, running: set[Running], method: str, perform: Perform[Reply], context: Context, timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self._method = method
        self._running = running
        self._failure: AstromeshError | None = None
        self._settled: asyncio.Future[None] = loop.create_future()
        self._timer = loop.call_later(timeout, self._expire, timeout)
        self._task = loop.create_task(self._run(perform), context=context)
        running.add(self._task)

    def __await__(self) -> Generator[Any, None, Reply]:
        """The reply. Raises the error that the servicer raised, or TimedOut."""
        try:
            yield from self._settled.__await__()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._failure is not None:
            raise self._failure
        return self._reply

    def cancel(self) -> bool:
        """Leaves the call and stops the servicer. False where it has ended already."""
        self._settled.cancel()
        return self._stop()

    def cancelled(self) -> bool:
        """Whether the caller left."""
        return self._settled.cancelled()

    def done(self) -> bool:
        """Whether the outcome is there."""
        return self._settled.done()

    async def _run(self, perform: Perform[Reply]) -> None:
        # It settles the call itself, without a callback of the task's: this is the hot path between services.
        try:
            self._reply = await perform()
        except AstromeshError as error:
            self._failure = error
        except asyncio.CancelledError:
            self._failure = _stopped(self._method)
        self._timer.cancel()
        self._running.discard(self._task)
        if not self._settled.done():
            self._settled.set_result(None)

    def _expire(self, timeout: float) -> None:
        if not self._settled.done():
            self._failure = _late(self._method, timeout)
            self._settled.set_result(None)
            self._stop()

    def _stop(self) -> bool:
        self._timer.cancel()
        # A task that is cancelled before its first step never comes to the end of `_run`.
        self._task.add_done_callback(self._running.discard)
        return self._task.cancel()


class LocalStreamCall(Generic[Reply]):
    """A call with a stream of replies. Whoever leaves early closes it (`reading`, `aclosing`, or by dropping it),
    which cancels the servicer and runs its `finally`."""

    __slots__ = ("_left", "_loop", "_pipe", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: Pipe[Reply], task: Running) -> None:
        self._loop = loop
        self._pipe = pipe
        self._left = False
        self._task = task

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        """The next reply. Raises the servicer's error after the last, or TimedOut."""
        if self._left:
            raise asyncio.CancelledError
        try:
            return await self._pipe.get()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """Leaves the stream and stops the servicer. False where it has ended already."""
        if self._pipe.ended:
            return False
        self._left = True
        return self._task.cancel()

    def cancelled(self) -> bool:
        """Whether the caller left."""
        return self._left

    def done(self) -> bool:
        """Whether nothing more will be written."""
        return self._left or self._pipe.ended

    async def aclose(self) -> None:
        """Leaves the stream; nothing happens where it has ended."""
        self.cancel()

    def __del__(self) -> None:
        # A plain `async for` with a `break` drops the call. The collector may run in any thread.
        if not self.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)


def start_stream(
    running: set[Running], method: str, pipe: Pipe[Reply], perform: Perform[None], context: Context, timeout: float
) -> LocalStreamCall[Reply]:
    """Starts the servicer's task, bound by the deadline. Neither holds the call, so that dropping the call ends
    them."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(perform(), context=context)
    running.add(task)

    def expire() -> None:
        pipe.end(_late(method, timeout), at_once=True)
        task.cancel()

    timer = loop.call_later(timeout, expire)

    def ended(done: Running) -> None:
        timer.cancel()
        running.discard(done)
        pipe.end(_failure(done, method))

    task.add_done_callback(ended)
    return LocalStreamCall(loop, pipe, task)


def _failure(task: Running, method: str) -> AstromeshError | None:
    if task.cancelled():
        return _stopped(method)
    error = task.exception()
    # The edge lets nothing but our errors through.
    return error if error is None or isinstance(error, AstromeshError) else Bug(f"{type(error).__name__} in {method}.")


def _stopped(method: str) -> Unavailable:
    return Unavailable(f"{method} was stopped before it answered.")


def _late(method: str, timeout: float) -> TimedOut:
    return TimedOut(f"{method} gave no answer within {max(timeout, 0.0):.3g} s.")
