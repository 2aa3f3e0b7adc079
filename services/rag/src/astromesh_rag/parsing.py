"""Reading documents off the event loop: plain text in a thread, every other format in a process of its own.

That process has bounded memory and time and none of our secrets; one that hangs is killed, and one that dies costs its
document alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Final, NamedTuple, TypeAlias

import orjson

from astromesh_rag.formats import PARSED, Format, read
from astromesh_rag.parsing_process import HEAD, LENGTH
from astromesh_rag.readers.text import Text, Unreadable

PARSE_SECONDS: Final = 60
IDLE_SECONDS: Final = 20.0

_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "HOME", "TMPDIR")


Process: TypeAlias = subprocess.Popen[bytes]


class Raw(NamedTuple):
    """A document as it came."""

    format: Format
    data: bytes
    charset: str = ""
    sha256: bytes = b""
    """Of data that is not at hand any more."""

    def digest(self) -> bytes:
        """The SHA-256 of the data."""
        return self.sha256 or hashlib.sha256(self.data).digest()


class Parser:
    """Reads one document at a time; its process ends when it has had nothing to do for a while."""

    def __init__(self, seconds: int = PARSE_SECONDS) -> None:
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._rest: asyncio.TimerHandle | None = None

    async def text(self, raw: Raw) -> Text:
        """The document's text. Raises Unreadable, with the reason."""
        if raw.format not in PARSED:
            return await asyncio.to_thread(read, raw.format, raw.data, raw.charset)
        async with self._turn:
            if self._rest is not None:
                self._rest.cancel()
            try:
                return await self._parsed(raw)
            finally:
                self._rest = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._kill)

    async def close(self) -> None:
        """Ends the process. Idempotent."""
        if self._rest is not None:
            self._rest.cancel()
        process = self._process
        self._kill()
        if process is not None:
            await asyncio.to_thread(process.wait)

    async def _parsed(self, raw: Raw) -> Text:
        process = self._process or await asyncio.to_thread(self._started)
        asking = asyncio.ensure_future(asyncio.to_thread(_ask, process, raw, self._seconds))
        try:
            async with asyncio.timeout(self._seconds):
                # Shielded, for a thread cannot be cancelled: it ends with the process that it reads from.
                return _text(await asyncio.shield(asking))
        except TimeoutError as error:
            raise Unreadable(f"takes longer than {self._seconds} s to be read") from error
        except (EOFError, OSError) as error:
            raise Unreadable("ends the process that reads it: it is damaged, or needs too much memory") from error
        finally:
            if not asking.done() or asking.exception() is not None:
                # With an answer under way, which the next document would take for its own.
                self._kill()
                asking.add_done_callback(_forget)

    def _started(self) -> Process:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Not asyncio's, which forks: among gRPC's threads that is loud. A Ctrl-C at the terminal is for the mesh.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "astromesh_rag.parsing_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        threading.Thread(target=_buried, args=(process,), daemon=True).start()


def _ask(process: Process, raw: Raw, seconds: int) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    head = orjson.dumps({"format": raw.format, "charset": raw.charset, "seconds": seconds})
    process.stdin.write(HEAD.pack(len(head), len(raw.data)) + head)
    process.stdin.write(raw.data)
    process.stdin.flush()
    (length,) = LENGTH.unpack(_exactly(process.stdout, LENGTH.size))
    return _exactly(process.stdout, length)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _buried(process: Process) -> None:
    """Waits for a killed process, so that nothing is left of it."""
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _forget(asking: asyncio.Future[bytes]) -> None:
    if not asking.cancelled():
        asking.exception()


def _text(answer: bytes) -> Text:
    told = orjson.loads(answer)
    if "refusal" in told:
        raise Unreadable(told["refusal"])
    return Text(told["text"], told["markdown"], tuple(told["pages"]))
