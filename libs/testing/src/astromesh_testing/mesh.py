"""A mesh as users run it: `astromesh up` as processes of its own, on free ports, killed and started again at will."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx

from astromesh_core.bus.connection import Bus, open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.permissions import MESH
from astromesh_testing.marked import MarkedProcesses, killed

COMMAND = Path(sys.executable).with_name("astromesh")
START_SECONDS = 40.0
_POLL_SECONDS = 0.05
_OWN_VARIABLES = "ASTROMESH_"


class MeshDied(AssertionError):
    """A mesh that should serve has ended, or does not become ready."""


class Mesh:
    """One mesh: its folders and ports stay the same over restarts.

    `processes` gives each service a process of its own. `settings` are further `ASTROMESH_*` variables, without the
    prefix.
    """

    def __init__(self, config: Path, data: Path, *, processes: bool = False, **settings: object) -> None:
        self.config = config
        self.data = data
        self.processes = processes
        self.port, self.grpc_port, self.nats_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self.log = data.with_name(f"{data.name}.log")
        self.marked = MarkedProcesses(secrets.token_hex(8))
        self.client = httpx.AsyncClient(base_url=self.url, timeout=60)
        self.settings = dict(settings)
        """May be changed before it is started again."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Of every process of the mesh: this one's without its own settings, and the mark."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        settings = {"nats_port": self.nats_port, **self.settings}
        chosen = {f"{_OWN_VARIABLES}{name.upper()}": str(value) for name, value in settings.items()}
        return {**inherited, **chosen, **self.marked.environment}

    async def start(self, *, until_ready: bool = True) -> float:
        """Starts it and, unless told otherwise, waits until it is ready. Returns the seconds that took."""
        begun = time.monotonic()
        options = ["--config", self.config, "--data", self.data, "--port", self.port, "--grpc-port", self.grpc_port]
        if self.processes:
            options.append("--processes")
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                COMMAND,
                "up",
                *map(str, options),
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if until_ready:
            await self.ready()
        return time.monotonic() - begun

    async def ready(self, seconds: float = START_SECONDS) -> None:
        """Returns when readiness is green and every agent of the config folder is Ready. Raises MeshDied."""
        reason = "it does not listen"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.returncode is not None:
                raise MeshDied(f"ended with {self._process.returncode}: {self.last_words()}")
            try:
                reason = await self._unready()
            except httpx.TransportError as error:
                reason = repr(error)
            if not reason:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise MeshDied(f"not ready within {seconds:.0f} s: {reason}\n{self.last_words()}")

    async def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; its exit code. Raises TimeoutError where it does not end."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL for every process of the mesh at once, nats-server included; returns when they are gone."""
        await self.marked.kill_all()
        if self._process is not None:
            await self._process.wait()

    def pid_of(self, word: str) -> int:
        """The process whose command line begins with a program of that name, or runs that service."""
        for pid, line in self.marked.running().items():
            words = line.split()
            if words and Path(words[0]).name == word:
                return pid
            if f"astromesh_{word}" in words or ("serve" in words and words[words.index("serve") + 1 :][:1] == [word]):
                return pid
        raise LookupError(f"no process for {word!r} among {self.marked.running()}")

    async def kill_process(self, word: str) -> int:
        """SIGKILL for one process, as `pid_of` finds it; its id."""
        pid = self.pid_of(word)
        await killed(pid)
        return pid

    def bus(self, user: str = MESH) -> AbstractAsyncContextManager[Bus]:
        """A bus of the mesh's own server, with the rights of a service."""
        credentials = load_credentials(self.data / "nats" / "credentials" / f"{user}.json")
        return open_bus(f"nats://127.0.0.1:{self.nats_port}", service=user, credentials=credentials, name="test")

    def last_words(self, lines: int = 15) -> str:
        """The end of what its processes printed."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    async def close(self) -> None:
        """Ends everything, however it stands."""
        await self.client.aclose()
        await self.kill()

    async def _unready(self) -> str:
        """Why it does not serve yet; empty where it does."""
        health = await self.client.get("/v1/health/ready", timeout=5)
        if health.status_code != 200:
            return health.text
        declared = len(list((self.config / "agents").glob("*.yaml")))
        agents = (await self.client.get("/v1/agents", timeout=5)).json()["agents"]
        waiting = [agent["name"] for agent in agents if agent["ready"] is None]
        return f"agents not judged yet: {waiting}" if waiting or (declared and not agents) else ""


@asynccontextmanager
async def running_mesh(
    config: Path, data: Path, *, processes: bool = False, **settings: object
) -> AsyncGenerator[Mesh]:
    """A mesh that is ready within the block; whatever of it still runs at the end is killed."""
    mesh = Mesh(config, data, processes=processes, **settings)
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()
