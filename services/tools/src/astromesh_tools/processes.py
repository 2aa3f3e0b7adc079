"""Processes of isolated calls: one for each, killed with all that it started when its time is up or its caller leaves.

`isolated` is what runs in them. None outlives its call, nor this process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import orjson

from astromesh.v1.tools_pb2 import ExecuteToolResponse
from astromesh_tools.isolated import BEGUN, LENGTH, IsolatedCall

MOST: Final = 8
"""Processes at once; more calls wait."""

MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024
_EXIT_SECONDS: Final = 2.0
"""For what users' code does when an interpreter exits."""

_DRAIN_SECONDS: Final = 0.5
_STDERR: Final = 2
"""What users' code prints stands where this process logs."""


class Died(Exception):
    """The process ended without an answer. `begun` says whether the function had been called."""

    def __init__(self, reason: str, *, begun: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.begun = begun


class Processes:
    """Makes isolated calls."""

    def __init__(self, most: int = MOST) -> None:
        self._places = asyncio.Semaphore(most)
        self._children: set[asyncio.Task[int]] = set()

    async def call(self, call: IsolatedCall, seconds: float) -> ExecuteToolResponse:
        """What the call comes to. Raises Died where its process ended, or was killed after so many seconds, first."""
        begun = False
        try:
            async with asyncio.timeout(seconds), self._places, _child(call, self._children) as child:
                begun = await child.read(len(BEGUN)) == BEGUN
                length = LENGTH.unpack(await child.read(LENGTH.size))[0]
                if length > MOST_ANSWER_BYTES:
                    raise _Ended(f"it answered {length} bytes, more than {MOST_ANSWER_BYTES}")
                answer = ExecuteToolResponse.FromString(await child.read(length))
                await child.exit()
                return answer
        except TimeoutError:
            raise Died(f"it did not answer within {seconds:g} s and was killed", begun=begun) from None
        except _Ended as ended:
            raise Died(ended.reason, begun=begun) from None

    async def close(self) -> None:
        """Returns when every process is gone; those that still run are killed by whoever asked for them."""
        await asyncio.gather(*self._children)


class _Ended(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Child:
    def __init__(self, process: Process, reader: asyncio.StreamReader, cpu_seconds: int) -> None:
        self._reader = reader
        self._process = process
        self._cpu_seconds = cpu_seconds
        self.exited = asyncio.create_task(process.wait())

    async def read(self, size: int) -> bytes:
        """So many bytes of what it writes. Raises _Ended where it is gone: a process that it left behind may keep the
        pipe open."""
        reading = asyncio.ensure_future(self._reader.readexactly(size))
        try:
            await asyncio.wait({reading, self.exited}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait({reading}, timeout=_DRAIN_SECONDS)
            if reading.done():
                return reading.result()
        except asyncio.IncompleteReadError:
            await asyncio.wait({self.exited}, timeout=_DRAIN_SECONDS)
        finally:
            reading.cancel()
        raise _Ended(self._how_it_ended())

    async def exit(self) -> None:
        """Lets it end by itself, for as long as an interpreter's exit may take."""
        await asyncio.wait({self.exited}, timeout=_EXIT_SECONDS)

    async def kill(self) -> None:
        """Ends it, and every process that it left in its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self.exited)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code in (-signal.SIGXCPU, -signal.SIGKILL) and self._cpu_seconds:
            return f"it used more than {self._cpu_seconds} s of CPU time and was killed"
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process exited with {code} and without an answer"


@asynccontextmanager
async def _child(call: IsolatedCall, children: set[asyncio.Task[int]]) -> AsyncGenerator[_Child]:
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader()
    with os.fdopen(theirs, "wb", 0) as written:
        connected = asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
        )
        transport, _ = await connected
        try:
            process = await _spawned(written.fileno())
        except BaseException:
            transport.close()
            raise
    child = _Child(process, reader, call["cpu_seconds"])
    children.add(child.exited)
    child.exited.add_done_callback(children.discard)
    assert process.stdin is not None
    try:
        process.stdin.write(orjson.dumps(call) + b"\n")
        yield child
    finally:
        transport.close()
        process.stdin.close()
        await child.kill()


async def _spawned(pipe: int) -> Process:
    # A child that is cancelled while it starts is ended by asyncio, and has called nothing yet.
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "astromesh_tools.isolated", str(pipe)),
            stdin=asyncio.subprocess.PIPE,
            stdout=_STDERR,
            pass_fds=(pipe,),
            start_new_session=True,
        )
    except OSError as error:
        raise _Ended(f"no process can be started: {error.strerror}") from error
