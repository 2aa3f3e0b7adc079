"""The process of one isolated call: reads on stdin what to call, bounds itself, calls, answers on a pipe, and exits.

What it writes: one byte as soon as it is about to call the function, or knows that it cannot; then the answer's length
and the answer. Whoever reads the first and no answer knows that the call had begun. `processes` is the other side.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, NoReturn, TypedDict, cast

import orjson
from pydantic import JsonValue

from astromesh.v1.tools_pb2 import ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolResult
from astromesh_core.errors import AstromeshError, InvalidInput, LimitExceeded
from astromesh_core.events.contents import text_content
from astromesh_core.user_code.foreign import Raised, attempt, failure_of
from astromesh_core.user_code.modules import Modules, UserCode
from astromesh_tools.arguments import IDEMPOTENCY_KEY, Arguments, Signature
from astromesh_tools.results import render

BEGUN: Final = b"B"
NOT_BEGUN: Final = b"N"
LENGTH: Final = struct.Struct(">I")

_MEGABYTE: Final = 1 << 20


class IsolatedCall(TypedDict):
    """What is to be called, and within which bounds; 0 for none."""

    folder: str
    function: str
    arguments: dict[str, JsonValue]
    given: bool
    """The arguments go to the function as they are: its schema is the file's, not the signature's."""
    idempotency_key: str
    memory_mb: int
    cpu_seconds: int


def main() -> None:
    """Makes the one call, in a child that this process guards."""
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)
    call: IsolatedCall = orjson.loads(_request())
    made = os.fork()
    if made:
        os.close(pipe)
        _guard(made)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _bound(call["memory_mb"], call["cpu_seconds"])
    answer = _answer(call, pipe).SerializeToString()
    _write(pipe, LENGTH.pack(len(answer)) + answer)


def _guard(made: int) -> NoReturn:
    """Ends as the child ends. Where whoever asked for the call is gone, and stdin with it, everything that the call
    started ends: no users' code runs here that could keep this from seeing it."""
    ended = os.pidfd_open(made)
    ready, _, _ = select.select([0, ended], [], [])
    if ended not in ready:
        os.killpg(0, signal.SIGKILL)
    _, status = os.waitpid(made, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _answer(call: IsolatedCall, pipe: int) -> ExecuteToolResponse:
    try:
        function, arguments = _prepared(call)
    except AstromeshError as error:
        _write(pipe, NOT_BEGUN)
        return ExecuteToolResponse(failure=failure_of(error))
    _write(pipe, BEGUN)
    try:
        text = attempt(lambda: render(_called(function, arguments)))
    except Raised as raised:
        if isinstance(raised.error, MemoryError) and call["memory_mb"]:
            told = f"{call['function']} needed more than {call['memory_mb']} MB"
            return ExecuteToolResponse(failure=failure_of(LimitExceeded(told)))
        return ExecuteToolResponse(failure=raised.failure())
    return ExecuteToolResponse(result=ToolResult(output=text_content(text)))


def _prepared(call: IsolatedCall) -> tuple[UserCode, Arguments]:
    function = Modules(Path(call["folder"])).find(call["function"])
    signature = Signature(function, call["function"])
    arguments: Arguments = {**call["arguments"]} if call["given"] else signature.convert(call["arguments"])
    if signature.takes_key:
        arguments[IDEMPOTENCY_KEY] = call["idempotency_key"]
    return function, arguments


def _called(function: UserCode, arguments: Arguments) -> object:
    value = function(**arguments)
    return asyncio.run(_awaited(cast("Awaitable[object]", value))) if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[object]) -> object:
    return await value


def _bound(memory_mb: int, cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        most = _data_bytes() + memory_mb * _MEGABYTE
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    if cpu_seconds:
        most = math.floor(time.process_time()) + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))


def _data_bytes() -> int:
    """What the interpreter has already of what RLIMIT_DATA counts (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _request() -> bytes:
    text = bytearray()
    while not text.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            raise InvalidInput("nobody says what to call")
        text += part
    return bytes(text)


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    main()
