"""The tool by which a model reads on in a result that was cut: one of its own run, and no other."""

from __future__ import annotations

import asyncio
from typing import cast

from astromesh.v1.values_pb2 import Content, Failure, ToolResult
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound, TimedOut
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent_tools import BuiltinTool as Declared
from astromesh_core.resources.builtin_tools import BUILTINS, READ_RESULT, RESULT_LENGTH
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.builtin.tool import builtin_spec
from astromesh_tools.surroundings import KeptValues
from astromesh_tools.tool import Clock, Invocation


class ResultReader:
    """Reads what the engine says that its run had cut."""

    def __init__(self, declared: Declared, values: KeptValues, clock: Clock) -> None:
        self._values = values
        self._clock = clock
        self._seconds = declared.timeout_seconds
        self._schema = ArgumentsSchema(BUILTINS[READ_RESULT].parameters)
        self.spec = builtin_spec(declared, self._schema)
        self.spec.reads_results = True

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Reads on. Every failure is definite: nothing was changed."""
        try:
            invocation.check_start(self.spec.name, self._clock())
            async with asyncio.timeout(self._seconds):
                text = await self._read(invocation)
        except AstromeshError as error:
            return failure_of(error)
        except TimeoutError:
            return failure_of(TimedOut(f"{self.spec.name} did not answer within {self._seconds:g} s"))
        return ToolResult(tool_call_id=invocation.call_id, name=self.spec.name, output=text_content(text))

    async def _read(self, invocation: Invocation) -> str:
        arguments = self._schema.read(invocation.arguments)
        path, start = str(arguments["path"]), cast("int", arguments.get("start", 0))
        whole = invocation.cut_results.get(path)
        if whole is None:
            paths = ", ".join(invocation.cut_results) or "none"
            raise NotFound(f"no result of this run at {path} was cut; those that were: {paths}")
        text = plain(Content.FromString(await self._values.get(whole)))
        if start >= len(text):
            raise InvalidInput(f"the result has {len(text)} characters: start is beyond its end")
        end = start + cast("int", arguments.get("max_length", RESULT_LENGTH))
        if end >= len(text):
            return text[start:]
        return f"{text[start:end]}\n[characters {start} to {end} of {len(text)}; read on from {end}]"
