"""Tools that are Python functions: awaited where they are async, in a thread where they block, each with its timeout.

What an outcome means: a function that returned or raised has answered, so an exception is a definite failure, for a
write too. One that overran its time has not: a read failed (timed-out), anything else raises TimedOut, an open outcome.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import cast

from pydantic import JsonValue

from astromesh.v1.values_pb2 import (
    TOOL_EFFECT_KIND_IDEMPOTENT,
    TOOL_EFFECT_KIND_READ,
    TOOL_EFFECT_KIND_WRITE,
    Failure,
    ToolEffectKind,
    ToolResult,
    ToolSpec,
)
from astromesh_core.errors import InvalidInput, TimedOut
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent_tools import InternalTool
from astromesh_core.user_code.foreign import Raised, attempt_async, failure_of
from astromesh_core.user_code.modules import UserCode
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.arguments import IDEMPOTENCY_KEY, Arguments, ArgumentsSchema, Signature
from astromesh_tools.results import render
from astromesh_tools.tool import Clock, Invocation

EFFECTS: dict[str, ToolEffectKind.ValueType] = {
    "read": TOOL_EFFECT_KIND_READ,
    "idempotent": TOOL_EFFECT_KIND_IDEMPOTENT,
    "write": TOOL_EFFECT_KIND_WRITE,
}

_NOT_STARTED = object()


class FunctionTool:
    """One function. Raises InvalidInput where its signature cannot be offered to a model."""

    def __init__(self, declared: InternalTool, function: UserCode, threads: DaemonThreads, clock: Clock) -> None:
        self._function = function
        self._threads = threads
        self._clock = clock
        self._seconds = declared.timeout_seconds
        self._signature = Signature(function, declared.function)
        # Parameters that say nothing are the resource's default: the function itself knows better.
        self.given = bool(declared.parameters.get("properties"))
        """Arguments go to the function as they are: the file has their schema."""
        self._schema = ArgumentsSchema(declared.parameters if self.given else self._signature.schema)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async is awaited as well
        )
        self.spec = ToolSpec(
            name=declared.name,
            description=declared.description or self._signature.description,
            parameters_json=self._schema.text,
            effect=EFFECTS[declared.effect],
            timeout_ms=round(declared.timeout_seconds * 1000),
            type="internal",
        )

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Calls the function. See the module for what each ending means."""
        try:
            arguments = self._arguments(invocation)
        except InvalidInput as error:
            return failure_of(error)
        if self.too_late(invocation):
            return self._not_started("its time to start had passed")
        run = self._awaited if self._is_async else self._in_thread
        try:
            value = await run(arguments, invocation)
        except Raised as raised:
            return raised.failure()
        except TimeoutError:
            return self._overran()
        if value is _NOT_STARTED:
            return self._not_started("no thread was free in time")
        return ToolResult(tool_call_id=invocation.call_id, name=self.spec.name, output=text_content(render(value)))

    def checked(self, invocation: Invocation) -> dict[str, JsonValue]:
        """The arguments as JSON. Raises InvalidInput where they do not fit."""
        return self._schema.read(invocation.arguments)

    def too_late(self, invocation: Invocation) -> bool:
        """Whether the call's time to start has passed."""
        return invocation.is_late(self._clock())

    def _arguments(self, invocation: Invocation) -> Arguments:
        checked = self.checked(invocation)
        arguments: Arguments = {**checked} if self.given else self._signature.convert(checked)
        if self._signature.takes_key:
            arguments[IDEMPOTENCY_KEY] = invocation.idempotency_key
        return arguments

    async def _awaited(self, arguments: Arguments, invocation: Invocation) -> object:
        function = cast("Callable[..., Awaitable[object]]", self._function)
        async with asyncio.timeout(self._seconds):
            return await attempt_async(partial(function, **arguments))

    async def _in_thread(self, arguments: Arguments, invocation: Invocation) -> object:
        call = partial(self._function, **arguments)
        context = copy_context()

        def start() -> object:
            return _NOT_STARTED if self.too_late(invocation) else context.run(call)

        future = self._threads.submit(start)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.cancelled():
                return _NOT_STARTED
            raise

    def _not_started(self, reason: str) -> Failure:
        return failure_of(TimedOut(f"{self.spec.name} was not started: {reason}"))

    def _overran(self) -> Failure:
        error = TimedOut(f"{self.spec.name} did not answer within {self._seconds:g} s")
        if self.spec.effect == TOOL_EFFECT_KIND_READ:
            return failure_of(error)
        raise error
