"""Ways to ask a model: straight, by three HTTP clients, and through the router, in this process and in another one.

Whatever way, the question is the same, and the whole answer is taken and looked at.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import httpx
from http_client import Connection, connect, written

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.router_pb2_grpc import RouterServiceStub
from astromesh.v1.values_pb2 import ROLE_SYSTEM, ROLE_USER, Message, ResourceRef
from astromesh_cli.serving.placement import openers
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import MESH
from astromesh_core.events.contents import text_content
from astromesh_core.launcher import compose
from astromesh_core.resources.candidates import DEFAULT_ROLE
from astromesh_core.rpc.ports import Channel
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.streams import reading
from astromesh_core.settings import Settings
from astromesh_testing.admission import put_agent

SYSTEM, QUESTION = "You are a calculator. Use your tools.", "What is two and two?"
MODEL = "stub-1"


class Answered(NamedTuple):
    """When the first words and the whole answer were there: moments of `perf_counter`. Unstreamed, both at once."""

    text: str
    first: float
    whole: float


Ask = Callable[[], Awaitable[Answered]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the model.

    `client` is one of CLIENTS; `at` is an HTTP endpoint ("http://127.0.0.1:1/v1"), which for the client `rpc` is the
    router's `host:port` and for `here` the model's. The router streams, whatever `streamed` says.
    """

    name: str
    client: str
    at: str
    streamed: bool = False
    token: str = ""
    """What opens the router's gRPC."""


def opened(way: Way) -> AbstractAsyncContextManager[Ask]:
    """What asks once, this way, over kept connections."""
    return CLIENTS[way.client](way)


@asynccontextmanager
async def bare(way: Way) -> AsyncGenerator[Ask]:
    """The least that a client can do: no JSON is read."""
    place = urlsplit(way.at)
    port = place.port or 0
    request = written(port, f"{place.path}/chat/completions", json.dumps(body(streamed=way.streamed)).encode())
    idle = list[Connection]()

    async def ask() -> Answered:
        while idle and not idle[-1].usable:
            idle.pop()
        connection = idle.pop() if idle else await connect(port)
        answer = await connection.ask(request, b'"content":' if way.streamed else b"")
        idle.append(connection)
        return Answered(answer.body.decode(), answer.first, answer.ended)

    yield ask
    for connection in idle:
        connection.close()


@asynccontextmanager
async def by_aiohttp(way: Way) -> AsyncGenerator[Ask]:
    """As a program would with aiohttp, unstreamed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> Answered:
            async with session.post(f"{way.at}/chat/completions", json=body(streamed=False)) as reply:
                text = _text(await reply.json())
            return Answered(text, now := perf_counter(), now)

        yield ask


@asynccontextmanager
async def by_httpx(way: Way) -> AsyncGenerator[Ask]:
    """As a program would with httpx, unstreamed."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:

        async def ask() -> Answered:
            reply = await client.post(f"{way.at}/chat/completions", json=body(streamed=False))
            return Answered(_text(reply.json()), now := perf_counter(), now)

        yield ask


@asynccontextmanager
async def over_grpc(way: Way) -> AsyncGenerator[Ask]:
    """The router as a process of its own, whose agent is called as AGENT says."""
    channel = RemoteChannel(way.at, way.token)
    try:
        yield _completing(channel.stub_channel(), ResourceRef(kind="Agent", namespace="default", name=AGENT))
    finally:
        await channel.close()


@asynccontextmanager
async def in_process(way: Way) -> AsyncGenerator[Ask]:
    """The router in this process, as `astromesh up` has it, on a bus of its own."""
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder = Path(made)
        async with EmbeddedServer(folder / "data") as server:
            server.credentials(MESH)
            settings = Settings(
                config_dir=folder / "config",
                data_dir=folder / "data",
                nats_url=server.url,
                nats_credentials=credentials_path(server.credentials_folder, MESH),
            )
            async with compose(openers(("router",)), settings) as mesh:
                agent = await put_asking_agent(mesh.platform.bus, way.at)
                yield _completing(mesh.platform.connections.channel("router"), agent)


CLIENTS: dict[str, Callable[[Way], AbstractAsyncContextManager[Ask]]] = {
    "bare": bare,
    "aiohttp": by_aiohttp,
    "httpx": by_httpx,
    "rpc": over_grpc,
    "here": in_process,
}

AGENT = "asking"


async def put_asking_agent(bus: Bus, endpoint: str) -> ResourceRef:
    """The agent whose model is asked, as the gateway would store it."""
    return await put_agent(
        bus, AGENT, model={"primary": {"provider": "openai_compat", "model": MODEL, "endpoint": endpoint}}
    )


def body(*, streamed: bool) -> dict[str, object]:
    """What the router asks too."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    asked: dict[str, object] = {"model": MODEL, "messages": messages}
    return {**asked, "stream": True, "stream_options": {"include_usage": True}} if streamed else asked


def _text(reply: Any) -> str:
    return str(reply["choices"][0]["message"]["content"])


def _completing(channel: Channel, agent: ResourceRef) -> Ask:
    stub = RouterServiceStub(channel)
    messages = [
        Message(role=ROLE_SYSTEM, content=text_content(SYSTEM)),
        Message(role=ROLE_USER, content=text_content(QUESTION)),
    ]
    request, numbers = CompleteRequest(agent=agent, role=DEFAULT_ROLE, messages=messages, path="1"), count()

    async def ask() -> Answered:
        request.run_id = f"00-{next(numbers)}"
        first, text = 0.0, ""
        async with reading(stub.Complete(request)) as parts:
            async for part in parts:
                first = first or perf_counter()
                if part.HasField("completion"):
                    text = part.completion.message.content.text
        return Answered(text, first, perf_counter())

    return ask
