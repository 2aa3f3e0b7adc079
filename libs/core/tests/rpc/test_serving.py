"""The gRPC server: who is let in, how much it takes, and what it tells about itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core.errors import AstromeshError, Denied, RateLimited, Unavailable
from astromesh_core.readiness import Health, Readiness
from astromesh_core.rpc.gates import TOKEN_HEADER, MeshGate, bearer
from astromesh_core.rpc.limits import CHANNEL_OPTIONS
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.serving import RunningServer, serve
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.contracts.placement import ScriptedRouter, named

TOKEN = "the-right-token"
REQUEST = router_pb2.CheckProvidersRequest()


async def answer(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
    await asyncio.sleep(0.01)
    return named("ok")


def register(server: RpcServer) -> None:
    router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=answer), server)


def serving(address: str = "127.0.0.1:0", **options: Any) -> Any:
    return serve([register], address, MeshGate(TOKEN), Telemetry(), drain_seconds=0, **options)


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with serving() as running:
        yield running


async def call(address: str, token: str = TOKEN) -> router_pb2.CheckProvidersResponse:
    channel = RemoteChannel(address, token)
    try:
        return await router_pb2_grpc.RouterServiceStub(channel.stub_channel()).CheckProviders(REQUEST, timeout=5)
    finally:
        await channel.close()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
async def test_only_services_with_the_meshs_token_are_answered(server: RunningServer, token: str) -> None:
    with pytest.raises(Denied):
        await call(server.address, token)
    assert (await call(server.address)).providers[0].provider == "ok"


async def test_a_malformed_identity_is_denied(server: RunningServer) -> None:
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        headers = ((TOKEN_HEADER, bearer(TOKEN)), ("astromesh-caller", "root"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CheckProviders(REQUEST, metadata=headers)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "example.com:1"])
async def test_an_address_that_others_reach_is_not_served_without_a_token(address: str) -> None:
    with pytest.raises(Denied, match="without a token"):
        async with serve([register], address, None, Telemetry()):
            pass


async def test_a_taken_address_is_refused(server: RunningServer) -> None:
    with pytest.raises(Unavailable, match="is it taken"):
        async with serving(server.address):
            pass


async def test_serves_at_a_unix_socket(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/router.sock") as running:
        assert (await call(running.address)).providers[0].provider == "ok"


@pytest.mark.serial
async def test_a_burst_of_3000_calls_is_served(server: RunningServer) -> None:
    channel = RemoteChannel(server.address, TOKEN)
    stub = router_pb2_grpc.RouterServiceStub(channel.stub_channel())

    async def one() -> router_pb2.CheckProvidersResponse:
        return await stub.CheckProviders(REQUEST)

    replies = await asyncio.gather(*(one() for _ in range(3000)))
    await channel.close()
    assert {reply.providers[0].provider for reply in replies} == {"ok"}


@pytest.mark.serial
async def test_a_burst_over_the_limit_is_refused_cleanly() -> None:
    async def slow(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        await asyncio.sleep(0.5)
        return named("ok")

    def add_slow(server: RpcServer) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=slow), server)

    async with serve([add_slow], "127.0.0.1:0", MeshGate(TOKEN), Telemetry(), concurrent_calls=100) as running:
        channel = RemoteChannel(running.address, TOKEN)
        stub = router_pb2_grpc.RouterServiceStub(channel.stub_channel())

        async def one() -> str:
            try:
                return (await stub.CheckProviders(REQUEST)).providers[0].provider
            except AstromeshError as error:
                return error.code

        outcomes = await asyncio.gather(*(one() for _ in range(3000)))
        await channel.close()
    assert set(outcomes) == {"ok", RateLimited.code}


async def test_a_peer_that_is_away_is_unavailable_at_once_and_found_again(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/router.sock"
    channel = RemoteChannel(address, TOKEN)
    stub = router_pb2_grpc.RouterServiceStub(channel.stub_channel())
    with pytest.raises(Unavailable):
        await stub.CheckProviders(REQUEST)
    async with serving(address):
        async with asyncio.timeout(5):
            while True:
                try:
                    reply = await stub.CheckProviders(REQUEST)
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        assert reply.providers[0].provider == "ok"
    await channel.close()


async def test_a_cancellation_that_is_not_the_callers_is_unavailable() -> None:
    class Cancelling(router_pb2_grpc.RouterServiceServicer):
        async def CheckProviders(self, request: router_pb2.CheckProvidersRequest, context: Any) -> Any:
            await context.abort(grpc.StatusCode.CANCELLED, "by the server")

    server = grpc.aio.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(Cancelling(), server)  # pyright: ignore[reportAbstractUsage] - one method is enough
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(Unavailable):
        await call(f"127.0.0.1:{port}")
    await server.stop(0)


async def test_health_follows_readiness_and_needs_no_token() -> None:
    readiness, state = Readiness(), {"ok": True}

    async def check() -> Health:
        return Health(state["ok"], "")

    readiness.register("bus", check)
    async with serving(readiness=readiness) as running, grpc.aio.insecure_channel(running.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        statuses = aiter(watch)
        first = await anext(statuses)
        state["ok"] = False
        async with asyncio.timeout(5):
            second = await anext(statuses)
        watch.cancel()
    assert first.status == health_pb2.HealthCheckResponse.SERVING
    assert second.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_nothing_is_checked_while_nobody_asks() -> None:
    readiness, checked = Readiness(), list[str]()

    async def check() -> Health:
        checked.append("bus")
        return Health(True)

    readiness.register("bus", check)
    async with serving(readiness=readiness) as running, grpc.aio.insecure_channel(running.address) as channel:
        await asyncio.sleep(2.2)
        assert len(checked) == 1
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
        assert len(checked) == 2, "whoever begins to watch gets what is so now"
        watch.cancel()


async def test_reflection_lists_the_services_for_who_has_the_token(server: RunningServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="*")]
        with pytest.raises(grpc.aio.AioRpcError):
            _ = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
        headers = ((TOKEN_HEADER, bearer(TOKEN)),)
        replies = [reply async for reply in stub.ServerReflectionInfo(iter(asked), metadata=headers)]
    names = {service.name for service in replies[0].list_services_response.service}
    assert {"astromesh.v1.RouterService", "grpc.health.v1.Health"} <= names


async def test_a_stopping_server_lets_calls_finish() -> None:
    async with serve([register], "127.0.0.1:0", MeshGate(TOKEN), Telemetry(), drain_seconds=5) as running:
        channel = RemoteChannel(running.address, TOKEN)
        under_way = asyncio.ensure_future(_one(channel))
        await asyncio.sleep(0.02)
    assert (await under_way).providers[0].provider == "ok"
    await channel.close()


async def _one(channel: RemoteChannel) -> router_pb2.CheckProvidersResponse:
    return await router_pb2_grpc.RouterServiceStub(channel.stub_channel()).CheckProviders(REQUEST)
