"""The servicer's edge, shared by both placements: whatever a servicer raises leaves as one of our errors, and a
stream that is left early is closed. Nothing here knows how the call arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from astromesh_core.errors import AstromeshError, Bug, NotSupported, Unavailable
from astromesh_core.rpc.failures import public_class
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.metrics import Metrics

Context = TypeVar("Context")
Request = TypeVar("Request")
Packed = TypeVar("Packed")

UnaryBehaviour = Callable[[Request, Context], Awaitable[Message]]
StreamBehaviour = Callable[[Request, Context], AsyncIterator[Message]]

_log = logger(__name__)


class Edge:
    """Runs the methods of servicers and turns what they raise into our errors."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def answer(
        self,
        method: str,
        behaviour: UnaryBehaviour[Request, Context],
        request: Request,
        context: Context,
        pack: Callable[[Message], Packed],
    ) -> Packed:
        """The packed reply. Raises an AstromeshError, or CancelledError when the call itself is cancelled."""
        try:
            return pack(await behaviour(request, context))
        except (Exception, asyncio.CancelledError) as error:  # the servicer's edge: nothing unexpected may pass
            if _left_by_caller(error):
                raise
            raise self.surfaced(error, method) from error

    async def produce(
        self,
        method: str,
        behaviour: StreamBehaviour[Request, Context],
        request: Request,
        context: Context,
        put: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Puts each reply. However this ends, the servicer's generator is closed, so that its `finally` has run."""
        try:
            replies = behaviour(request, context)
            try:
                async for reply in replies:
                    await put(reply)
            finally:
                if isinstance(replies, AsyncGenerator):
                    await replies.aclose()
        except (Exception, asyncio.CancelledError) as error:  # the servicer's edge: nothing unexpected may pass
            if _left_by_caller(error):
                raise
            raise self.surfaced(error, method) from error

    def surfaced(self, error: BaseException, method: str) -> AstromeshError:
        """What the caller gets to know of an exception. The unexpected ones are logged here, with their cause, and
        only here."""
        if isinstance(error, AstromeshError):
            surfaced = error
        elif isinstance(error, asyncio.CancelledError):
            surfaced = Unavailable(f"{method} was stopped before it answered.")
        elif isinstance(error, NotImplementedError):
            surfaced = NotSupported(f"{method} is not built.")
        else:
            _log.error("unexpected exception in a servicer", method=method, exc_info=error)
            surfaced = Bug(f"{type(error).__name__} in {method}; its log has the cause.")
        self._metrics.rpc_failures.labels(method, public_class(surfaced).code).inc()
        return surfaced


def _left_by_caller(error: BaseException) -> bool:
    """Whether it is this call that was cancelled, rather than something that the servicer awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
