"""A real Chroma server for tests: a free port of loopback and a folder of its own. The binary is that of its wheel."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from astromesh_testing.mesh import free_ports
from astromesh_testing.server_process import ServerProcess, new_folder


class ChromaServer:
    """Stopped when made. It listens at one port for good, on its data; whoever makes it calls `close`."""

    def __init__(self) -> None:
        self.folder = new_folder("chroma")
        (self.port,) = free_ports(1)
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Runs it and waits until it answers. Raises NotStarted."""
        if self._process is not None and self._process.running:
            return
        command = [sys.executable, str(Path(sys.executable).with_name("chroma")), "run"]
        where = ["--path", str(self.folder / "data"), "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = ServerProcess([*command, *where], self.folder)
        self._process.wait_until(self._answers)

    def stop(self) -> None:
        """Ends it, in order."""
        if self._process is not None:
            self._process.stop()

    def close(self) -> None:
        """Stops it and removes its folder. Idempotent."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"GET /api/v2/heartbeat HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
        except OSError:
            return False


@contextmanager
def chroma_server() -> Generator[ChromaServer]:
    """Runs a new, empty server within the block."""
    server = ChromaServer()
    try:
        server.start()
        yield server
    finally:
        server.close()
