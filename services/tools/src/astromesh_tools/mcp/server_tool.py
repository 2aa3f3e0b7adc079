"""A tool of an MCP server, as an agent's tool.

What an answer means: a result, and one that says it is an error, is definite; so is a refusal. A server that does not
know the connection any more did nothing, and is asked once more over a new one. Anything else, and no answer in time,
says nothing of what was done: a read failed, anything else has an open outcome. `outcomes` tells which is which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

import orjson

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, ToolResult, ToolSpec
from astromesh_core.errors import AstromeshError, InvalidInput, PermanentError, TimedOut, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.mcp.http import Sending
from astromesh_tools.mcp.outcomes import Judgement, Meaning, judged
from astromesh_tools.mcp.requests import Request, Shown, asking_of

if TYPE_CHECKING:
    from astromesh_tools.mcp.connection import Connection
    from astromesh_tools.mcp.session import Asked, Session
    from astromesh_tools.tool import Clock, Invocation

TOLD_EVERY_SECONDS: Final = 0.2
"""A server may tell its progress as often as it likes."""


class ServerTool:
    """One tool, as a catalogue has it: the server may have changed it since."""

    def __init__(self, spec: ToolSpec, connection: Connection, clock: Clock) -> None:
        self.spec = spec
        self._connection = connection
        self._clock = clock
        self._asking = asking_of(spec)
        self._seconds = spec.timeout_ms / 1000
        self._schema: ArgumentsSchema | None = None

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Calls it at the server. See the module for what each ending means."""
        try:
            request = self._request(invocation)
            outcome = await self._answered(request, invocation)
        except _NotDone as not_done:
            return failure_of(not_done.reason)
        except AstromeshError as error:
            if self._reads:
                return failure_of(error)
            raise
        return ToolResult(
            tool_call_id=invocation.call_id,
            name=self.spec.name,
            output=text_content(self._connection.server.without_secrets(outcome.text)),
            is_error=outcome.is_error,
        )

    @property
    def _reads(self) -> bool:
        return self.spec.effect == TOOL_EFFECT_KIND_READ

    def _request(self, invocation: Invocation) -> Request:
        try:
            if self._schema is None:
                self._schema = ArgumentsSchema(orjson.loads(self.spec.parameters_json))
            arguments = self._schema.read(invocation.arguments)
        except InvalidInput as error:
            raise _NotDone(error) from error
        return Request(self.spec.origin.name, arguments, invocation.idempotency_key, _Progress(invocation.tell))

    async def _answered(self, request: Request, invocation: Invocation) -> Shown:
        until = monotonic() + self._seconds
        for last in (False, True):
            self._check_time(invocation)
            session = await self._session(until)
            sending = Sending(repeatable=self._reads)
            asked = await session.ask(lambda opened: self._asking(opened, request), until - monotonic(), sending)
            if asked.result is not None:
                return asked.result
            judgement = self._judgement(asked, sending, request)
            if judgement.meaning is Meaning.OPEN:
                raise judgement.error
            if judgement.meaning is Meaning.REFUSED or last:
                raise _NotDone(judgement.error)
            self._connection.lost(session)
        raise AssertionError("unreachable: the last turn ends the call")

    def _check_time(self, invocation: Invocation) -> None:
        try:
            invocation.check_start(self.spec.name, self._clock())
        except TimedOut as error:
            raise _NotDone(error) from error

    async def _session(self, until: float) -> Session:
        try:
            async with asyncio.timeout(max(0.0, until - monotonic())):
                return await self._connection.session()
        except TimeoutError as error:
            raise _NotDone(TimedOut(self._told("no connection in time"))) from error
        except AstromeshError as error:
            kind = PermanentError if isinstance(error, PermanentError) else Unavailable
            raise _NotDone(kind(self._told(error.message))) from error

    def _judgement(self, asked: Asked[Shown], sending: Sending, request: Request) -> Judgement:
        if asked.error is None:
            come = request.on_progress.told if isinstance(request.on_progress, _Progress) else ""
            overran = f"{self.spec.name} did not answer within {self._seconds:g} s{come}"
            return Judgement(Meaning.OPEN, TimedOut(overran))
        if isinstance(asked.error, PermanentError):
            return Judgement(Meaning.REFUSED, asked.error)
        found = judged(asked.error, sending)
        kind = type(found.error)
        return Judgement(found.meaning, kind(self._told(found.error.message)))

    def _told(self, reason: str) -> str:
        server = self._connection.server
        return f"{self.spec.name}: {server.told(f'{self.spec.origin.entry} ({server.shown}): {reason}')}"


class _Progress:
    """How far a call has come, as its server told last; those who follow the run are told some times a second."""

    def __init__(self, tell: Callable[[float, float], None] | None) -> None:
        self._tell = tell
        self._next = 0.0
        self.told = ""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        of = f" of {total:g}" if total is not None else ""
        self.told = f"; it had come to {progress:g}{of}{f': {message[:200]}' if message else ''}"
        if self._tell is not None and monotonic() >= self._next:
            self._next = monotonic() + TOLD_EVERY_SECONDS
            self._tell(progress, total or 0.0)


class _NotDone(Exception):
    """The server did nothing."""

    def __init__(self, reason: AstromeshError) -> None:
        super().__init__(reason.message)
        self.reason = reason
