"""Looking into semantic and episodic memory, and having it made again: over HTTP and gRPC, in the caller's name."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from astromesh.v1.episodes_pb2 import Episode, EpisodeTool
from astromesh.v1.memory_pb2 import RebuildMemoryResponse, RecallRelatedResponse
from astromesh.v1.runs_pb2 import RUN_STATUS_FAILED, Feedback
from astromesh.v1.sessions_pb2 import RebuildAgentMemoryRequest, SearchMemoryRequest
from astromesh.v1.sessions_pb2_grpc import SessionServiceStub, add_SessionServiceServicer_to_server
from astromesh.v1.values_pb2 import Passage
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import session_key
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_gateway.memory.service import SessionServicer
from astromesh_gateway.service import KeyGate
from astromesh_testing.admission import KEY

from .conftest import Mesh

if TYPE_CHECKING:
    from astromesh.v1.sessions_pb2_grpc import SessionServiceAsyncStub

FOUND = RecallRelatedResponse(
    memories=[Passage(id="r1:5", source="r1", text=text_content("User: Rex"), score=0.7)],
    episodes=[
        Episode(
            run_id="r2",
            goal=text_content("walk"),
            status=RUN_STATUS_FAILED,
            outcome=text_content("rain"),
            tools=[EpisodeTool(name="walk", calls=2, failures=1)],
            cost_nanos=2_000_000_000,
            feedback=[Feedback(rating=-1, comment=text_content("no"), principal="ada")],
        )
    ],
)


@asynccontextmanager
async def over_grpc(mesh: Mesh) -> AsyncGenerator[SessionServiceAsyncStub]:
    servicer = SessionServicer(mesh.gateway)

    def register(server: RpcServer) -> None:
        add_SessionServiceServicer_to_server(servicer, server)

    gate, telemetry = KeyGate(mesh.gateway.authenticator), mesh.platform.telemetry
    async with (
        serve([register], "127.0.0.1:0", gate, telemetry, drain_seconds=0) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield SessionServiceStub(channel)


async def test_what_was_said_and_what_happened_is_searched_as_the_caller(mesh: Mesh) -> None:
    mesh.services.memory.related = FOUND
    asked = {"query": "dog", "user": "ada", "session_id": "s"}
    said = (await mesh.client.get("/v1/memory/agent/semantic", params=asked)).json()
    assert said["results"] == [{"id": "r1:5", "run_id": "r1", "text": "User: Rex", "score": 0.7}]
    (happened,) = (await mesh.client.get("/v1/memory/agent/episodes", params=asked)).json()["episodes"]
    assert (happened["goal"], happened["status"], happened["cost"]) == ("walk", "failed", 2.0)
    assert happened["tools"] == [{"name": "walk", "calls": 2, "failures": 1}]
    assert happened["feedback"][0]["comment"] == "no"
    request = mesh.services.memory.related_requests[0]
    assert (request.principal, request.user.text, request.query.text) == ("anonymous", "ada", "dog")
    assert request.session_key == session_key(KEY, "default", "agent", "s")


async def test_without_a_session_nobodys_is_searched(mesh: Mesh) -> None:
    for _ in range(2):
        await mesh.client.get("/v1/memory/agent/semantic", params={"query": "dog"})
    first, second = (request.session_key for request in mesh.services.memory.related_requests)
    assert first != second


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/memory/nobody/semantic?query=x", 404),
        ("/v1/memory/agent/semantic", 422),
        ("/v1/memory/agent/episodes?query=", 422),
        ("/v1/memory/agent/episodes?query=x&principal=other", 422),
    ],
)
async def test_what_cannot_be_asked_is_refused(mesh: Mesh, path: str, status: int) -> None:
    assert (await mesh.client.get(path)).status_code == status


async def test_a_rebuild_tells_how_much_is_remembered(mesh: Mesh) -> None:
    mesh.services.memory.rebuilt = RebuildMemoryResponse(turns=3, semantic=2, episodic=1)
    rebuilt = await mesh.client.post("/v1/memory/agent/rebuild")
    assert rebuilt.json() == {"agent": "agent", "turns": 3, "semantic": 2, "episodic": 1}
    assert (await mesh.client.post("/v1/memory/nobody/rebuild")).status_code == 404


async def test_grpc_searches_and_rebuilds_too(mesh: Mesh) -> None:
    mesh.services.memory.related = FOUND
    mesh.services.memory.rebuilt = RebuildMemoryResponse(turns=3, semantic=2, episodic=1)
    async with over_grpc(mesh) as stub:
        found = await stub.SearchMemory(SearchMemoryRequest(agent="agent", query="dog", user="ada"))
        assert (list(found.memories), list(found.episodes)) == (list(FOUND.memories), list(FOUND.episodes))
        rebuilt = await stub.RebuildAgentMemory(RebuildAgentMemoryRequest(agent="agent"))
        assert (rebuilt.turns, rebuilt.semantic, rebuilt.episodic) == (3, 2, 1)
