"""A mesh for a desktop client that names a config folder: the one that serves the folder already, else one of its own,
which ends with it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from astromesh_cli.client.failures import Failed, Unreachable
from astromesh_cli.client.mesh import MeshClient, Target
from astromesh_cli.ports import free_port
from astromesh_core.errors import InvalidInput
from astromesh_core.settings import ADDRESS_FILE

START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1
_HOST: Final = "127.0.0.1"


@contextmanager
def mesh_of(config: Path, data: Path | None, target: Target) -> Generator[Target]:
    """The mesh of a config folder, ready, as this caller reaches it. Its data stands beside the folder unless `data`
    names another place. Raises InvalidInput where there is no such folder, Failed where no mesh comes of it."""
    config = config.absolute()
    if not config.is_dir():
        raise InvalidInput(f"there is no config folder {config}")
    data = (data or config.parent / ".astromesh").absolute()
    running = _running(data, target)
    if running is not None:
        yield running
        return
    # Errors go where a desktop client keeps what its servers say.
    with _started(config, data, sys.stderr) as (process, url):
        own = replace(target, url=url)
        _wait_until_ready(own, process)
        yield own


def answers(target: Target) -> bool:
    """Whether a mesh is there."""
    try:
        with MeshClient(target) as mesh:
            return mesh.status("/v1/health")[0] == 200
    except Unreachable:
        return False


def _running(data: Path, target: Target) -> Target | None:
    """The mesh that has this data folder now."""
    try:
        told = replace(target, url=(data / ADDRESS_FILE).read_text(encoding="utf-8").strip())
    except OSError:
        return None
    return told if answers(told) else None


@contextmanager
def _started(config: Path, data: Path, says: IO[str]) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    port, grpc_port = free_port(_HOST), free_port(_HOST)
    command = [sys.executable, "-m", "astromesh_cli", "up", "--with-parent", "--config", config, "--data", data]
    command += ["--host", _HOST, "--port", port, "--grpc-port", grpc_port]
    # The end of our pipe is what tells it that we are gone. Its words go to stderr: stdout is the client's.
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=says, stderr=says, start_new_session=True
    )
    try:
        yield process, f"http://{_HOST}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _wait_until_ready(target: Target, process: subprocess.Popen[bytes]) -> None:
    reason, deadline = "it does not listen", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"the mesh of the folder did not start (exit code {process.returncode}); its words are above")
        try:
            with MeshClient(target) as mesh:
                status, report = mesh.status("/v1/health/ready")
        except Unreachable:
            status, report = 0, reason
        if status == 200:
            return
        reason = str(report)
        time.sleep(_POLL_SECONDS)
    raise Failed(f"the mesh of the folder is not ready after {START_SECONDS:.0f} s: {reason}")
