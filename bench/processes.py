"""Processes under measurement: on which core they run, when they are ready, and what they use. Linux only (/proc)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0


def cores() -> tuple[int, int]:
    """The core of whoever is measured, and that of load and model. The same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    core: int,
    *,
    output: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Runs a command on one core, its children too, within the block; then asks it to stop, and waits. `user` is on
    whose account, where not ours."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            user=user,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def stub_model(folder: Path) -> Generator[str]:
    """An OpenAI-compatible model that answers at once, on the load's core; yields its endpoint."""
    port = free_port()
    command = [sys.executable, "-m", "astromesh_testing.models.stub", "--port", str(port)]
    with running(command, cores()[1], output=folder / "stub.log"):
        wait_until_answering(f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"


def reported(script: str, plan: str, core: int) -> Any:
    """What a script of ours prints as JSON, run with this plan on one core. Raises RuntimeError with its last words."""
    command = ["taskset", "-c", str(core), sys.executable, script, plan]
    # A file and no pipe: the result may be larger than a pipe holds.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the load failed: {done.stderr[-2000:]}")
        output.seek(0)
        return json.load(output)


def wait_until_listening(
    port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = _READY_SECONDS
) -> None:
    """Returns once the port takes connections. Raises TimeoutError, at once where the process ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and (process is None or process.poll() is None):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")


def wait_until_answering(
    url: str, process: subprocess.Popen[bytes] | None = None, seconds: float = _READY_SECONDS
) -> float:
    """Returns, once the URL answers 200, how long that took. Raises TimeoutError, at once where the process ended."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds and (process is None or process.poll() is None):
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return time.perf_counter() - begun
        except (urllib.error.URLError, OSError):
            time.sleep(0.005)
    raise TimeoutError(f"{url} does not answer 200 within {time.perf_counter() - begun:.0f} s")


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = list[int](), [pid]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


def resident_bytes(pid: int) -> dict[str, int]:
    """Memory in use by name, of the process and its descendants."""
    used: dict[str, int] = {}
    for member in family(pid):
        try:
            pages = int(Path(f"/proc/{member}/statm").read_text().split()[1])
            name = Path(f"/proc/{member}/comm").read_text().strip()
        except OSError:
            continue
        used[name] = used.get(name, 0) + pages * _PAGE
    return used


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time by name, of the process and its descendants."""
    used: dict[str, float] = {}
    for member in family(pid):
        fields = _stat(member)
        if fields:
            name = Path(f"/proc/{member}/comm").read_text().strip()
            used[name] = used.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return used


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
