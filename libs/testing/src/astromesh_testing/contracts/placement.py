"""Both placements of a service, for tests: the fixture `placement` runs a test in process and over gRPC.

A service's tests reuse it so: import `placement` in their conftest, then
`async with placement(lambda server: add_XServicer_to_server(servicer, server)) as channel: stub = XStub(channel)`.
What a placement must do is in `placement_suite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, cast

import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import Channel, Registrar
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry.telemetry import Telemetry

TOKEN = "a-token-for-tests"

Placement = Callable[[Registrar], AbstractAsyncContextManager[Channel]]
"""Serves a registrar's servicers in the block and gives the channel to them."""


@asynccontextmanager
async def in_process(registrar: Registrar) -> AsyncGenerator[Channel]:
    """The servicers in this process, called directly."""
    server = InProcessServer(Telemetry())
    server.install(registrar)
    yield server.channel()
    await server.stop(grace=0)


@asynccontextmanager
async def over_grpc(registrar: Registrar) -> AsyncGenerator[Channel]:
    """The servicers behind a gRPC server on loopback."""
    async with serve([registrar], "127.0.0.1:0", MeshGate(TOKEN), Telemetry(), drain_seconds=0) as server:
        channel = RemoteChannel(server.address, TOKEN)
        yield channel.stub_channel()
        await channel.close()


@pytest.fixture(params=[in_process, over_grpc], ids=["in-process", "grpc"])
def placement(request: pytest.FixtureRequest) -> Placement:
    """Each placement in turn."""
    return cast("Placement", request.param)


Unary = Callable[[router_pb2.CheckProvidersRequest], Awaitable[router_pb2.CheckProvidersResponse]]
Stream = Callable[[router_pb2.CompleteRequest], AsyncIterator[router_pb2.CompleteResponse]]


class ScriptedRouter(router_pb2_grpc.RouterServiceServicer):
    """A servicer that does what the test says."""

    def __init__(self, *, unary: Unary | None = None, stream: Stream | None = None) -> None:
        self._unary = unary
        self._stream = stream

    async def CheckProviders(
        self, request: router_pb2.CheckProvidersRequest, context: Any
    ) -> router_pb2.CheckProvidersResponse:
        """Answers by the script."""
        assert self._unary is not None
        return await self._unary(request)

    async def Complete(
        self, request: router_pb2.CompleteRequest, context: Any
    ) -> AsyncIterator[router_pb2.CompleteResponse]:
        """Streams by the script."""
        assert self._stream is not None
        async with aclosing(cast("Any", self._stream(request))) as parts:
            async for part in parts:
                yield part


@asynccontextmanager
async def routed(
    placement: Placement, *, unary: Unary | None = None, stream: Stream | None = None
) -> AsyncGenerator[router_pb2_grpc.RouterServiceAsyncStub]:
    """A stub of a scripted router in the placement."""
    servicer = ScriptedRouter(unary=unary, stream=stream)

    def register(server: Any) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)

    async with placement(register) as channel:
        yield router_pb2_grpc.RouterServiceStub(channel)


def delta(text: str) -> router_pb2.CompleteResponse:
    """A part of a scripted stream."""
    return router_pb2.CompleteResponse(text_delta=text)


def named(name: str) -> router_pb2.CheckProvidersResponse:
    """A scripted reply that tells a name."""
    return router_pb2.CheckProvidersResponse(providers=[router_pb2.ProviderHealth(provider=name)])


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Waits for what happens at the other side in its own time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition may be anything
            await asyncio.sleep(0.005)
