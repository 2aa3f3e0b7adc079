"""The embedded server: streams declared, private files, one mesh a folder, back after a crash, gone with its parent."""

import asyncio
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from astromesh_core.bus.bootstrap import declare_streams
from astromesh_core.bus.connection import Bus, connect
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import ADMIN, MESH, USERS
from astromesh_core.bus.positions import Position
from astromesh_core.bus.streams import stream_configs
from astromesh_core.errors import Conflict, NotFound, Unavailable
from astromesh_testing.commits import commit_of, new_run, requested
from astromesh_testing.nats import NatsServer

PARENT = """
import asyncio, sys
from pathlib import Path
from astromesh_core.bus.embedded import EmbeddedServer

async def main():
    async with EmbeddedServer(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_every_stream_is_declared(nats: NatsServer) -> None:
    client = await connect(nats.url, credentials=nats.credentials(ADMIN), name="test")
    try:
        streams = JetStreamContext(client)
        for config in stream_configs():
            assert (await streams.stream_info(str(config.name))).config.subjects == config.subjects
    finally:
        await client.close()


async def test_declaring_again_changes_nothing(nats: NatsServer) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    async with nats.bus() as bus:
        position = await bus.log.append(run.requested, run, commit, Position.START)
        await declare_streams(nats.url, credentials=nats.credentials(ADMIN))
        assert (await bus.log.read(run)).position == position


async def test_its_secrets_are_readable_by_their_owner_alone(nats: NatsServer, tmp_path: Path) -> None:
    secret = [path for path in (tmp_path / "nats").rglob("*.json") if "store" not in path.parts]
    assert {path.stem for path in secret} == set(USERS)
    for path in (*secret, tmp_path / "nats" / "server.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_credentials(nats.credentials_folder / "gateway.json") == nats.credentials("gateway")
    assert nats.credentials("gateway").password not in repr(nats.credentials("gateway"))
    with pytest.raises(NotFound):
        load_credentials(tmp_path / "none.json")


async def test_it_syncs_every_append(tmp_path: Path, nats: NatsServer) -> None:
    del nats
    assert '"sync_interval": "always"' in (tmp_path / "nats" / "server.conf").read_text()


async def test_a_folder_serves_one_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astromesh_core.bus.embedded._LOCK_SECONDS", 0.2)
    async with EmbeddedServer(tmp_path):
        with pytest.raises(Conflict, match="another mesh"):
            await EmbeddedServer(tmp_path).__aenter__()


async def test_two_folders_serve_two_meshes(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a") as one, EmbeddedServer(tmp_path / "b") as other:
        assert one.url != other.url
        assert one.credentials(MESH) != other.credentials(MESH)


async def test_a_port_that_is_taken_is_an_error_with_its_reason(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a") as one:
        port = int(one.url.rpartition(":")[2])
        with pytest.raises(Unavailable, match="address already in use"):
            await EmbeddedServer(tmp_path / "b", port=port).__aenter__()


async def test_what_is_stored_outlives_the_server(tmp_path: Path) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    for expected in (0, 1):
        async with EmbeddedServer(tmp_path) as server, NatsServer(server).bus() as bus:
            assert len((await bus.log.read(run)).events) == expected
            await bus.log.append(run.requested, run, commit, Position.START)


async def test_it_comes_back_after_a_crash_on_its_port(tmp_path: Path) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    async with EmbeddedServer(tmp_path) as server, NatsServer(server).bus() as bus:
        first = server.pid
        os.kill(first, signal.SIGKILL)
        await bus.log.append(run.requested, run, commit, Position.START)
        assert server.pid != first


async def test_it_ends_with_its_context(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        pid = server.pid
    assert await gone(pid, 0.5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_it_ends_with_its_parent_whatever_kills_that(tmp_path: Path, how: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.send_signal(how)
    await parent.wait()
    assert await gone(pid)
    async with EmbeddedServer(tmp_path):
        pass


async def test_a_bus_without_a_server_is_unavailable(
    bus: Bus, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astromesh_core.bus.connection._CONNECT_SECONDS", 0.3)
    assert [check.ok for check in bus.health()][:1] == [True]
    await nats.kill()
    with pytest.raises(Unavailable):
        await connect(nats.url, credentials=nats.credentials(MESH), name="late")
    assert not bus.health()[0].ok
    assert bus.health()[0].reason


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("own", "used"), [("", b"GOGC=50"), ("75", b"GOGC=75")])
async def test_the_server_is_told_to_keep_its_heap_small_unless_its_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, used: bytes
) -> None:
    monkeypatch.delenv("GOGC", raising=False)
    if own:
        monkeypatch.setenv("GOGC", own)
    async with EmbeddedServer(tmp_path) as server:
        told = await asyncio.to_thread(Path(f"/proc/{server.pid}/environ").read_bytes)
    assert used in told.split(b"\0")
