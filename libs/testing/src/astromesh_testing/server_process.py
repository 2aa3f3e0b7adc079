"""A server as a child process of a test session: it never outlives the session, whatever kills that. POSIX only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from astromesh_testing.mesh import free_ports

READY_SECONDS = 30.0
_POLL_SECONDS = 0.01

# The shell reads from a pipe whose only write end is the session's: a word asks to end the server, and the end of the
# pipe alone says that the session died, which takes the folder along. SIGKILL follows a signal that was not heeded.
_SUPERVISOR = """
folder=$1 ending=$2
shift 2
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
echo "$child" >"$folder/server.pid"
word=
read -r word <&3
{
  kill -"$ending" "$child"
  { tries=0; while [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done; kill -KILL "$child"; } &
  killer=$!
  wait "$child"
  kill "$killer"
} 2>/dev/null
[ -n "$word" ] || rm -rf "$folder"
"""


class NotStarted(Exception):
    """A server does not come up; the message holds its last words."""


class ServerProcess:
    """One run of a server whose files lie in `folder`, as `user` where given. `ending` is what stops it fast."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, ending: signal.Signals = signal.SIGTERM, user: str | None = None
    ) -> None:
        self._log = folder / "server.log"
        self._pid_file = folder / "server.pid"
        self._pid_file.unlink(missing_ok=True)
        self._suspended: list[psutil.Process] = []
        signal_name = ending.name.removeprefix("SIG")
        with self._log.open("ab") as output:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISOR, "supervisor", str(folder), signal_name, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                start_new_session=True,
                user=user,
                group=group_of(user),
                extra_groups=None if user is None else [],
            )

    @property
    def pid(self) -> int:
        """Of the server itself; 0 until it is known."""
        told = self._pid_file.read_text() if self._pid_file.exists() else ""
        return int(told) if told.endswith("\n") else 0

    @property
    def running(self) -> bool:
        """False once the server has ended, whoever ended it."""
        if self._shell.poll() is not None:
            return False
        try:
            return self.pid == 0 or _lives(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return False

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Returns once `answers` does with True. Raises NotStarted."""
        deadline = time.monotonic() + READY_SECONDS
        while self.running and time.monotonic() < deadline:
            if answers():
                return
            time.sleep(_POLL_SECONDS)
        raise NotStarted(self._log.read_text(encoding="utf-8", errors="replace")[-1000:])

    def stop(self) -> None:
        """Asks it to end, at once and in order, and waits. Idempotent."""
        self.resume()
        assert self._shell.stdin is not None
        if not self._shell.stdin.closed:
            self._shell.stdin.write(b"stop\n")
            self._shell.stdin.close()
        self._shell.wait()

    def kill(self) -> None:
        """SIGKILL to it and all its children, as a power cut would; waits until they are gone."""
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._suspended = []
        self.stop()
        deadline = time.monotonic() + READY_SECONDS
        while any(map(_lives, family)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._suspended = self._family()
        for process in self._suspended:
            process.suspend()

    def resume(self) -> None:
        """SIGCONT, where it is paused."""
        for process in self._suspended:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._suspended = []

    def _family(self) -> list[psutil.Process]:
        try:
            server = psutil.Process(self.pid)
            return [server, *server.children(recursive=True)]
        except (psutil.NoSuchProcess, ValueError):
            return []


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and that nobody asked about does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ready(process: ServerProcess, answers: Callable[[], bool]) -> None:
    """Waits until the server answers; one that does not is stopped. Raises NotStarted."""
    try:
        process.wait_until(answers)
    except NotStarted:
        process.stop()
        raise


class Server(ABC):
    """A server with a port and a folder of its own, which it keeps over restarts. Stopped when made; whoever makes it
    calls `close`."""

    def __init__(self, name: str, user: str | None = None) -> None:
        """`name` stands in its folder's name; the folder is the user's, where one is given."""
        self.folder = new_folder(name, user)
        (self.port,) = free_ports(1)
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Runs it, at its port and on its data, and waits until it answers. Raises NotStarted."""
        if self._process is not None and self._process.running:
            return
        self.port = started_at(self.port, self._run, known=self._process is not None)

    def stop(self) -> None:
        """Ends its connections and itself, in order."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """Connections stay open and nothing is answered, until `resume` or `stop`."""
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """Goes on after `pause`."""
        if self._process is not None:
            self._process.resume()

    def close(self) -> None:
        """Stops it and removes its folder. Idempotent."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, port: int) -> None:
        self.port = port
        process = self._started(port)
        ready(process, self._answers)
        self._process = process

    @abstractmethod
    def _started(self, port: int) -> ServerProcess:
        """The server's process, which may not answer yet."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers."""


def started_at(port: int, start: Callable[[int], None], *, known: bool) -> int:
    """The port that a server was started at: another than this one where somebody took it meanwhile and nobody knows it
    yet. Raises NotStarted."""
    for _ in range(0 if known else 2):
        try:
            start(port)
        except NotStarted:
            (port,) = free_ports(1)
        else:
            return port
    start(port)
    return port


def new_folder(name: str, owner: str | None = None) -> Path:
    """A private folder for a server's files. An `owner` reaches it: it stands where everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"astromesh-{name}-", dir="/tmp" if owner else None))
    if owner is not None:
        shutil.chown(folder, owner)
    return folder


def group_of(user: str | None) -> int | None:
    """The user's own group; None where the child stays who we are."""
    return None if user is None else pwd.getpwnam(user).pw_gid
