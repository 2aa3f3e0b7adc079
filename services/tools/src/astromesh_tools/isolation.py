"""Tools that are Python functions in a process of their own.

What an outcome means is as in `functions`, and beside: a process that ends without an answer, or is killed for being
over a limit, has not answered. Before its function was called nothing was done; after it, a read failed and anything
else has an open outcome.
"""

from __future__ import annotations

import os
from pathlib import Path

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, ToolResult
from astromesh_core.errors import InvalidInput, NotSupported, TimedOut, Unavailable
from astromesh_core.resources.tool_isolation import Isolation
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.functions import FunctionTool
from astromesh_tools.isolated import IsolatedCall
from astromesh_tools.processes import Died, Processes
from astromesh_tools.tool import Invocation


class IsolatedTool:
    """A function tool whose calls do not share this process."""

    def __init__(
        self, function: FunctionTool, path: str, isolation: Isolation, folder: Path, processes: Processes
    ) -> None:
        """Raises NotSupported where the system has no such processes."""
        if not hasattr(os, "pidfd_open"):
            raise NotSupported(f"tool {function.spec.name}: isolation needs Linux")
        self._function = function
        self._path = path
        self._isolation = isolation
        self._folder = folder
        self._processes = processes
        self.spec = function.spec

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Calls the function in a new process. See the module for what each ending means."""
        try:
            arguments = self._function.checked(invocation)
        except InvalidInput as error:
            return failure_of(error)
        if self._function.too_late(invocation):
            return failure_of(TimedOut(f"{self.spec.name} was not started: its time to start had passed"))
        call = IsolatedCall(
            folder=str(self._folder),
            function=self._path,
            arguments=arguments,
            given=self._function.given,
            idempotency_key=invocation.idempotency_key,
            memory_mb=self._isolation.memory_mb or 0,
            cpu_seconds=self._isolation.cpu_seconds or 0,
        )
        try:
            answer = await self._processes.call(call, self.spec.timeout_ms / 1000)
        except Died as died:
            error = Unavailable(f"{self.spec.name}: {died.reason}")
            if self.spec.effect == TOOL_EFFECT_KIND_READ or not died.begun:
                return failure_of(error)
            raise error from died
        if answer.HasField("failure"):
            return answer.failure
        answer.result.tool_call_id, answer.result.name = invocation.call_id, self.spec.name
        return answer.result
