"""Processes: what starts, what happens when something does not, and that nothing is left behind."""

import asyncio
import os
import signal
import stat
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh.v1.metrics_pb2 import GetMetricsRequest
from astromesh.v1.metrics_pb2_grpc import MetricsServiceStub
from astromesh_core import errors
from astromesh_core.launcher import compose
from astromesh_core.mesh_secrets import mesh_key, mesh_token
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.sockets import socket_address
from astromesh_core.service import OpenService, Platform
from astromesh_core.settings import Settings, load_settings
from astromesh_testing.contracts.placement import ScriptedRouter, named
from astromesh_testing.mesh import free_ports

REQUEST = router_pb2.CheckProvidersRequest()


async def answer(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
    return named("ok")


def register(server: RpcServer) -> None:
    router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=answer), server)


class Story:
    """Services that write down when they start and stop."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.platforms: list[Platform] = []

    def service(self, name: str, registrar: Registrar | None = None) -> OpenService:
        @asynccontextmanager
        async def open_service(platform: Platform) -> AsyncGenerator[Registrar | None]:
            self.lines.append(f"{name} starts")
            self.platforms.append(platform)
            yield registrar
            self.lines.append(f"{name} stops")

        return open_service


def broken(error: Exception, after: float | None = None) -> OpenService:
    """A service that fails at the start, or some seconds later."""

    @asynccontextmanager
    async def open_service(platform: Platform) -> AsyncGenerator[None]:
        if after is None:
            raise error
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            yield None

    async def fail() -> None:
        await asyncio.sleep(after or 0)
        raise error

    return open_service


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path, "drain_seconds": 2})


async def test_services_share_a_platform_call_each_other_and_stop_in_reverse(settings: Settings) -> None:
    story = Story()
    services = {"router": story.service("router", register), "runtime": story.service("runtime")}
    async with compose(services, settings) as mesh:
        stub = router_pb2_grpc.RouterServiceStub(mesh.platform.connections.channel("router"))
        assert (await stub.CheckProviders(REQUEST)).providers[0].provider == "ok"
        assert (await mesh.platform.readiness.report()).ok
        assert story.platforms[0] is story.platforms[1]
    assert story.lines == ["router starts", "runtime starts", "runtime stops", "router stops"]


async def test_a_composed_process_serves_the_others_over_grpc(settings: Settings) -> None:
    async with compose({"router": Story().service("router", register)}, settings, "127.0.0.1:0") as mesh:
        channel = RemoteChannel(mesh.address, mesh_token(settings))
        stub = router_pb2_grpc.RouterServiceStub(channel.stub_channel())
        assert (await stub.CheckProviders(REQUEST)).providers[0].provider == "ok"
        await channel.close()


async def test_a_process_serves_its_metrics_until_it_ends(settings: Settings) -> None:
    (port,) = free_ports(1)
    settings = settings.model_copy(update={"metrics_port": port})
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        async with compose({"router": Story().service("router")}, settings) as mesh:
            mesh.platform.telemetry.metrics.runs_open.set(5)
            assert "astromesh_runs_open 5.0\n" in (await client.get("/metrics")).text
        with pytest.raises(httpx.ConnectError):
            await client.get("/metrics")


async def test_a_process_tells_its_mesh_whose_metrics_they_are(settings: Settings) -> None:
    services = {"router": Story().service("router", register), "guardrails": Story().service("guardrails")}
    async with compose(services, settings, "127.0.0.1:0") as mesh:
        channel = RemoteChannel(mesh.address, mesh_token(settings))
        told = await MetricsServiceStub(channel.stub_channel()).GetMetrics(GetMetricsRequest())
        await channel.close()
        stranger = RemoteChannel(mesh.address, "guessed")
        with pytest.raises(errors.Denied):
            await MetricsServiceStub(stranger.stub_channel()).GetMetrics(GetMetricsRequest())
        await stranger.close()
    assert told.instance == mesh.platform.instance
    assert 'astromesh_runs_open{service="guardrails+router"} 0.0\n' in told.page


async def test_dead_letters_are_counted_by_consumer(settings: Settings) -> None:
    async with compose({"router": Story().service("router")}, settings) as mesh:
        await mesh.platform.bus.dead_letters.put("intake", "a.subject", b"rubbish", ValueError("rubbish"))
        assert b'astromesh_dead_letters_total{consumer="intake"} 1.0' in mesh.platform.telemetry.metrics.exposition()[0]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.InvalidInput("no such folder"), errors.InvalidInput, "tools did not start: no such folder"),
        (errors.Unavailable("away"), errors.Unavailable, "tools did not start: away"),
        (ZeroDivisionError("division"), errors.Bug, "tools did not start: ZeroDivisionError: division"),
    ],
)
async def test_a_service_that_does_not_start_is_named_and_stops_the_rest(
    settings: Settings, error: Exception, kind: type[errors.AstromeshError], words: str
) -> None:
    story = Story()
    services = {"router": story.service("router"), "tools": broken(error), "runtime": story.service("runtime")}
    with pytest.raises(kind, match=words):
        async with compose(services, settings):
            pass
    assert story.lines == ["router starts", "router stops"]


async def test_a_service_that_ends_by_itself_is_named_and_stops_the_rest(settings: Settings) -> None:
    story = Story()
    services = {"router": story.service("router"), "tools": broken(KeyError("x"), after=0.05)}
    with pytest.raises(errors.Bug, match="tools ended: KeyError"):
        async with compose(services, settings) as mesh, asyncio.timeout(2):
            await mesh.run(asyncio.Event())
    assert story.lines == ["router starts", "router stops"]


async def test_a_service_that_does_not_drain_is_cut_off(tmp_path: Path) -> None:
    @asynccontextmanager
    async def stubborn(platform: Platform) -> AsyncGenerator[None]:
        yield None
        await asyncio.sleep(60)

    settings = load_settings({"data_dir": tmp_path, "drain_seconds": 0.1})
    async with asyncio.timeout(5), compose({"tools": stubborn}, settings):
        pass


async def test_a_bus_that_asks_for_credentials_nobody_gave_is_told(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "nats_url": "nats://127.0.0.1:1"})
    with pytest.raises(errors.InvalidInput, match="ASTROMESH_NATS_CREDENTIALS"):
        async with compose({"router": Story().service("router")}, settings):
            pass


def test_the_meshs_secrets_are_made_once_private_and_settable(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path})
    assert mesh_key(settings) == mesh_key(settings)
    assert len(mesh_key(settings)) == 32
    assert mesh_token(settings) == mesh_token(settings) != mesh_key(settings).hex()
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    given = load_settings({"data_dir": tmp_path, "mesh_key": "ab" * 32, "mesh_token": "t"})
    assert (mesh_key(given), mesh_token(given)) == (b"\xab" * 32, "t")
    with pytest.raises(errors.InvalidInput, match="ASTROMESH_MESH_KEY"):
        mesh_key(load_settings({"mesh_key": "short"}))


def test_settings_come_from_the_environment_and_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTROMESH_PORT", "9000")
    monkeypatch.setenv("ASTROMESH_PEERS", '{"router": "r:1"}')
    assert load_settings().port == 9000
    assert load_settings({"port": 9001}).port == 9001
    assert load_settings().peers == {"router": "r:1"}
    monkeypatch.setenv("ASTROMESH_PORT", "none")
    with pytest.raises(errors.InvalidInput, match="ASTROMESH_PORT"):
        load_settings()
    monkeypatch.setenv("ASTROMESH_PEERS", "router=r:1")
    with pytest.raises(errors.InvalidInput, match="peers"):
        load_settings()
    monkeypatch.delenv("ASTROMESH_PEERS")
    assert "secret" not in repr(load_settings({"port": 1, "peers": {}, "mesh_token": "secret"}))


PROCESS = textwrap.dedent("""
    import sys
    from contextlib import asynccontextmanager
    from astromesh_core.errors import InvalidInput
    from astromesh_core.service import run_service

    @asynccontextmanager
    async def open_service(platform):
        if sys.argv[1] == "refuses":
            raise InvalidInput("not like this")
        print("started", flush=True)
        yield None
        print("drained", flush=True)

    run_service("router", open_service)
""")


async def start(tmp_path: Path, mode: str, port: str = "8000") -> asyncio.subprocess.Process:
    (tmp_path / "process.py").write_text(PROCESS)
    environment = {
        **os.environ,
        "ASTROMESH_DATA_DIR": str(tmp_path / "data"),
        "ASTROMESH_LOG_FORMAT": "json",
        "ASTROMESH_PORT": port,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(tmp_path / "process.py"),
        mode,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_process_drains_on_sigterm_and_exits_0(tmp_path: Path) -> None:
    process = await start(tmp_path, "serves")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    await _serving(tmp_path)
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"drained\n"), err.decode()


async def test_a_process_that_cannot_start_says_why_and_exits_78(tmp_path: Path) -> None:
    process = await start(tmp_path, "refuses")
    _, err = await process.communicate()
    assert process.returncode == 78
    assert b"router did not start: not like this" in err
    assert b"Traceback" not in err


async def test_a_process_with_a_wrong_setting_names_it_and_exits_78(tmp_path: Path) -> None:
    process = await start(tmp_path, "serves", port="none")
    _, err = await process.communicate()
    assert process.returncode == 78
    assert err.startswith(b"Setting ASTROMESH_PORT: ")


async def _serving(tmp_path: Path) -> None:
    path = Path(socket_address(tmp_path / "data", "router").removeprefix("unix:"))
    async with asyncio.timeout(5):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it; a look costs nothing
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
