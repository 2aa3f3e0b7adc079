"""The frame of every built-in tool: arguments checked, time bounded, each ending definite. All of them only read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from pydantic import JsonValue

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, ToolResult, ToolSpec
from astromesh_core.errors import AstromeshError, TimedOut
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent_tools import BuiltinTool as Declared
from astromesh_core.resources.builtin_tools import BUILTINS
from astromesh_core.user_code.foreign import Raised, failure_of
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.results import render
from astromesh_tools.tool import Clock, Invocation

Value = TypeVar("Value")


class Builtin(Protocol):
    """What one built-in tool does."""

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """The answer to arguments that fit the schema: text, or what is shown as JSON. Raises AstromeshError, in words
        that a model can work with. It may be cancelled at any time."""
        ...


def builtin_spec(declared: Declared, schema: ArgumentsSchema) -> ToolSpec:
    """How the catalogue lists a built-in that an agent declares."""
    return ToolSpec(
        name=declared.name,
        description=declared.description or BUILTINS[declared.tool].description,
        parameters_json=schema.text,
        effect=TOOL_EFFECT_KIND_READ,
        timeout_ms=round(declared.timeout_seconds * 1000),
        type="builtin",
    )


class BuiltinTool:
    """One built-in, as an agent's tool."""

    def __init__(self, declared: Declared, builtin: Builtin, clock: Clock) -> None:
        self._builtin = builtin
        self._clock = clock
        self._seconds = declared.timeout_seconds
        self._schema = ArgumentsSchema(BUILTINS[declared.tool].parameters)
        self.spec = builtin_spec(declared, self._schema)

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Answers. Every failure is definite: nothing was changed."""
        try:
            invocation.check_start(self.spec.name, self._clock())
            arguments = self._schema.read(invocation.arguments)
            async with asyncio.timeout(self._seconds):
                answer = await self._builtin.answer(arguments)
        except AstromeshError as error:
            return failure_of(error)
        except TimeoutError:
            return failure_of(TimedOut(f"{self.spec.name} did not answer within {self._seconds:g} s"))
        return ToolResult(tool_call_id=invocation.call_id, name=self.spec.name, output=text_content(render(answer)))


async def in_thread(threads: DaemonThreads, call: Callable[[], Value]) -> Value:
    """What the call returns, or raises, in a thread. Cancelled, it is left to itself: it has to be bounded."""
    try:
        return await asyncio.wrap_future(threads.submit(call))
    except Raised as raised:
        raise raised.error from raised
