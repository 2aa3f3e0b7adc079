"""A service as a child process: started, started again when it dies, stopped. It ends with its parent, whatever ends
that: it holds the read end of a pipe whose only write end is the parent's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from astromesh_core.telemetry.logs import logger

PARENT_OPTION: Final = "--with-parent"
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0

STEADY_SECONDS: Final = 30.0
"""A child that lived this long is started again at once; one that dies sooner waits longer each time."""

_MEND_THE_CONFIGURATION: Final = 78

_log = logger(__name__)


def serve_command(service: str) -> tuple[str, ...]:
    """The command of a service's process."""
    return (sys.executable, "-m", "astromesh_cli", "serve", service, PARENT_OPTION)


class Child:
    """One service's process. `keep` runs until `stop`."""

    def __init__(self, service: str, command: Sequence[str], environ: Mapping[str, str], grace_seconds: float) -> None:
        self.service = service
        self._command = tuple(command)
        self._environ = dict(environ)
        self._grace = grace_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def keep(self) -> int:
        """Keeps it running. Returns its exit code where it says that the configuration has to be mended, 0 after
        `stop`."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            begun = monotonic()
            code = await self._run()
            if self._stopping.is_set():
                break
            if code == _MEND_THE_CONFIGURATION:
                return code
            pause = FIRST_PAUSE_SECONDS if monotonic() - begun > STEADY_SECONDS else pause
            _log.error("service ended; starting it again", service=self.service, code=code, pause_seconds=pause)
            await self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        return 0

    async def stop(self) -> None:
        """Has it drain; after its time it is killed. Returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._grace):
                await process.wait()
        except TimeoutError:
            _log.error("service did not stop in time and is killed", service=self.service, seconds=self._grace)
            await self.kill()

    async def kill(self) -> None:
        """Ends it at once, and returns when it is gone; nothing happens where it is."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _run(self) -> int:
        # A session of its own: a terminal's Ctrl-C reaches the parent alone, which stops services in their order.
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            env=self._environ,
            start_new_session=True,
        )
        if self._stopping.is_set():
            process.terminate()
        code = await process.wait()
        return 128 - code if code < 0 else code

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def end_with_parent() -> None:
    """Has this process told to stop when its parent is gone. Called once, by the child."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
