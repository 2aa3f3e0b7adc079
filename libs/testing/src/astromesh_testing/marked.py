"""Processes of a test, found by a mark in their environment: orphans too, so that nothing is ever left running.

Reads /proc, so it works on Linux alone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from astromesh_testing.waiting import until

MARK = "MESH_OF_TEST"
"""The variable that every process of a mesh inherits."""


class MarkedProcesses:
    """Every process whose environment bears the mark. Supervising shells count; what has ended does not."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    @property
    def environment(self) -> Mapping[str, str]:
        """What the first process has to be started with."""
        return {MARK: self.mark}

    def running(self) -> dict[int, str]:
        """Process ids with their command lines, words parted by blanks."""
        wanted = f"{MARK}={self.mark}".encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        found[int(folder.name)] = line
        return found

    def send(self, number: signal.Signals) -> None:
        """Sends the signal to all of them."""
        for pid in self.running():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def kill_all(self, seconds: float = 10.0) -> None:
        """SIGKILL, until none is left. Raises TimeoutError."""

        async def all_gone() -> bool:
            self.send(signal.SIGKILL)
            return not self.running()

        await until(all_gone, seconds)

    async def gone(self, seconds: float = 10.0) -> None:
        """Returns when the last of them has ended. Raises TimeoutError."""

        async def all_gone() -> bool:
            return not self.running()

        await until(all_gone, seconds)


def memory_bytes(pid: int) -> int:
    """What the process holds in memory (resident set)."""
    pages = int((Path("/proc") / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def killed(pid: int, seconds: float = 5.0) -> None:
    """SIGKILL; returns when the process is gone. Raises TimeoutError."""
    os.kill(pid, signal.SIGKILL)

    async def gone() -> bool:
        return not _alive(pid)

    await until(gone, seconds)


def _alive(pid: int) -> bool:
    try:
        status = (Path("/proc") / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
