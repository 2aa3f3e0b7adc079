"""A child process that never outlives its parent, whatever kills the parent, and how to learn that it ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

# The shell holds the read end of a pipe whose only write end is the parent's. The parent's death, SIGKILL included,
# closes it; so does stopping, which makes the one mechanism the tested one. No code runs between fork and exec in the
# parent (it has threads), and it works wherever there is a POSIX shell. SIGKILL follows a SIGTERM that was not heeded.
_SUPERVISOR = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{
  read -r _ <&3
  kill -TERM "$child"
  tries=0
  while kill -0 "$child" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$child"
} 2>/dev/null &
watcher=$!
wait "$child"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"""


class SupervisedProcess:
    """A running child in a session of its own (a terminal's Ctrl-C does not reach it)."""

    def __init__(self, shell: asyncio.subprocess.Process) -> None:
        self._shell = shell

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        errors: Path,
        inherit: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> SupervisedProcess:
        """Starts the command. Its output goes to the file `errors`; it inherits these descriptors and no other, and the
        environment, in which `environment` fills what is not set."""
        with errors.open("wb") as output:
            shell = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                _SUPERVISOR,
                "supervisor",
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=tuple(inherit),
                start_new_session=True,
                env={**(environment or {}), **os.environ},
            )
        return cls(shell)

    @property
    def running(self) -> bool:
        """False once the child has ended."""
        return self._shell.returncode is None

    async def wait(self) -> int:
        """Waits for the child's end; its exit code, 128 + n for signal n."""
        code = await self._shell.wait()
        return 128 + signal.Signals(-code) if code < 0 else code

    async def stop(self) -> None:
        """Ends the child: SIGTERM, after five seconds SIGKILL. Returns when it is gone."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        await self._shell.wait()
