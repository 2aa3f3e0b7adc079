"""The service as it is composed: on a real server, with the rights of its own, in process."""

from __future__ import annotations

from pathlib import Path

import orjson

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.memory_pb2 import RecallRequest
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub
from astromesh.v1.run_events_pb2 import MemoryStored, RunEvent
from astromesh.v1.values_pb2 import ROLE_USER, Message, ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import MeshKey, session_key
from astromesh_core.readiness import Readiness
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_memory.app import open_service
from astromesh_testing.commits import commit_of, new_run
from astromesh_testing.nats import NatsServer


async def put_agent(bus: Bus, **parts: object) -> ResourceRef:
    raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}, **parts}
    record = ResourceRecord(
        ref=ResourceRef(kind="Agent", namespace="default", name="desk"),
        managed_by=MANAGED_BY_API,
        spec_json=AgentSpec.model_validate_json(orjson.dumps(raw)).to_json(),
    )
    return (await bus.resources.put(record)).ref


async def test_remembers_what_the_log_says(nats: NatsServer, bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, memory={"conversational": {}})
    session = session_key(MeshKey(bytes(32)), "default", "desk", "one")
    turn = [Message(role=ROLE_USER, content=text_content("hello"))]
    run = new_run()
    commit, _ = commit_of(run, [RunEvent(memory_stored=MemoryStored(session_key=session, agent="desk", turn=turn))])
    position = await bus.log.append(run.log, run, commit, Position.START)
    telemetry = Telemetry()
    local = InProcessServer(telemetry)
    connections = Connections(local, ("memory", "rag"), {}, "token")
    settings = Settings(config_dir=tmp_path / "config", data_dir=tmp_path / "data", nats_url=nats.url)
    async with nats.bus("memory") as own:
        platform = Platform(settings, own, connections, telemetry, Readiness(), MeshKey(bytes(32)), "one")
        async with open_service(platform) as register:
            local.install(register)
            stub = MemoryServiceStub(connections.channel("memory"))
            request = RecallRequest(agent=agent, session_key=session, after_position=position.encode())
            assert [plain(message.content) for message in (await stub.Recall(request)).messages] == ["hello"]
            assert all(health.ok for health in own.health())
            assert any("memory" in health.name for health in own.health())
    assert (tmp_path / "data" / "memory" / "conversations.sqlite").exists()
    await local.stop(0)
    await connections.close()
