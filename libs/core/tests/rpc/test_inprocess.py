"""The in-process server's own rules: what stops, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core.errors import Unavailable
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.contracts.placement import ScriptedRouter, delta, named

REQUEST = router_pb2.CheckProvidersRequest()


def stub_of(server: InProcessServer, seconds: float) -> router_pb2_grpc.RouterServiceAsyncStub:
    async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        await asyncio.sleep(seconds)
        return named("ok")

    async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
        yield delta("a")
        await asyncio.sleep(seconds)

    servicer = ScriptedRouter(unary=unary, stream=stream)
    server.install(lambda target: router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, target))
    return router_pb2_grpc.RouterServiceStub(server.channel())


async def test_a_stopping_server_lets_calls_finish_and_takes_no_new_ones() -> None:
    server = InProcessServer(Telemetry())
    stub = stub_of(server, 0.05)
    under_way = stub.CheckProviders(REQUEST)
    await server.stop(grace=2)
    assert (await under_way).providers[0].provider == "ok"
    with pytest.raises(Unavailable):
        await stub.CheckProviders(REQUEST)


async def test_calls_that_outlast_the_grace_end_as_unavailable() -> None:
    server = InProcessServer(Telemetry())
    stub = stub_of(server, 60)
    unary, stream = stub.CheckProviders(REQUEST), aiter(stub.Complete(router_pb2.CompleteRequest()))
    await server.stop(grace=0.02)
    with pytest.raises(Unavailable):
        await unary
    assert (await anext(stream)).text_delta == "a"
    with pytest.raises(Unavailable):
        await anext(stream)


async def test_ended_calls_are_forgotten() -> None:
    server = InProcessServer(Telemetry())
    stub = stub_of(server, 0)
    await stub.CheckProviders(REQUEST)
    left = stub.CheckProviders(REQUEST)
    left.cancel()
    _ = [part async for part in stub.Complete(router_pb2.CompleteRequest())]
    await asyncio.sleep(0.01)
    assert server.running == set()
    assert left.cancelled()
