"""How one service reaches another, by configuration alone."""

import asyncio
from pathlib import Path

import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core.errors import InvalidInput
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.failures import PeerGone, PeerUnreached
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_core.rpc.sockets import socket_address
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.contracts.placement import ScriptedRouter, named

REQUEST = router_pb2.CheckProvidersRequest()


def router(name: str) -> ScriptedRouter:
    async def answer(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        return named(name)

    return ScriptedRouter(unary=answer)


async def test_a_service_in_this_process_is_called_directly_and_others_at_their_address(tmp_path: Path) -> None:
    local = InProcessServer(Telemetry())
    local.install(lambda server: router_pb2_grpc.add_RouterServiceServicer_to_server(router("here"), server))

    def there(server: RpcServer) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(router("there"), server)

    address = socket_address(tmp_path, "router")
    async with serve([there], address, MeshGate("t"), Telemetry(), drain_seconds=0):
        got: list[str] = []
        for here in (("router",), ()):
            connections = Connections(local, here, {"router": address}, "t")
            stub = router_pb2_grpc.RouterServiceStub(connections.channel("router"))
            got.append((await stub.CheckProviders(REQUEST)).providers[0].provider)
            await connections.close()
    assert got == ["here", "there"]


async def test_a_call_that_found_nobody_is_told_from_one_that_broke_off(tmp_path: Path) -> None:
    async def goes_away(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    def there(server: RpcServer) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=goes_away), server)

    asked, address = asyncio.Event(), socket_address(tmp_path, "router")
    connections = Connections(InProcessServer(Telemetry()), (), {"router": address}, "t")
    stub = router_pb2_grpc.RouterServiceStub(connections.channel("router"))
    with pytest.raises(PeerUnreached):
        await stub.CheckProviders(REQUEST)
    async with serve([there], address, MeshGate("t"), Telemetry(), drain_seconds=0):
        await asyncio.sleep(0.3)  # gRPC's pause before it connects again
        broken = asyncio.ensure_future(stub.CheckProviders(REQUEST))
        await asyncio.wait_for(asked.wait(), 5)
    with pytest.raises(PeerGone) as caught:
        await broken
    assert not isinstance(caught.value, PeerUnreached)
    await connections.close()


async def test_a_service_without_an_address_is_named() -> None:
    connections = Connections(InProcessServer(Telemetry()), (), {}, "t")
    with pytest.raises(InvalidInput, match=r"'router'.*ASTROMESH_PEERS"):
        connections.channel("router")


def test_a_socket_is_private_and_its_path_short_enough_for_the_kernel(tmp_path: Path) -> None:
    near = socket_address(tmp_path / "d", "router")
    far = socket_address(tmp_path / ("d" * 120), "router")
    for address in (near, far):
        path = Path(address.removeprefix("unix:"))
        assert len(str(path)) < 107
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert near != far
    Path(far.removeprefix("unix:")).parent.rmdir()
