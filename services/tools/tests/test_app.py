"""The service as it is composed: on a real server, with the rights of its own, in process."""

from __future__ import annotations

from pathlib import Path

import orjson

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.tools_pb2 import ExecuteToolRequest
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh.v1.values_pb2 import ResourceRef, ToolCall
from astromesh_core.bus.connection import Bus
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import MeshKey
from astromesh_core.readiness import Readiness
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.nats import NatsServer
from astromesh_tools.app import open_service


async def put_agent(bus: Bus, **parts: object) -> ResourceRef:
    raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}, **parts}
    record = ResourceRecord(
        ref=ResourceRef(kind="Agent", namespace="default", name="desk"),
        managed_by=MANAGED_BY_API,
        spec_json=AgentSpec.model_validate_json(orjson.dumps(raw)).to_json(),
    )
    return (await bus.resources.put(record)).ref


async def test_calls_a_function_of_the_config_folder(nats: NatsServer, bus: Bus, tmp_path: Path) -> None:
    shop = tmp_path / "config" / "tools" / "shop.py"
    shop.parent.mkdir(parents=True)
    shop.write_text("def add(a: int, b: int) -> int:\n    return a + b\n")
    agent = await put_agent(bus, tools=[{"name": "add", "type": "internal", "function": "shop:add"}])
    telemetry = Telemetry()
    local = InProcessServer(telemetry)
    connections = Connections(local, ("tools", "rag"), {}, "token")
    settings = Settings(config_dir=tmp_path / "config", data_dir=tmp_path / "data", nats_url=nats.url)
    async with nats.bus("tools") as own:
        platform = Platform(settings, own, connections, telemetry, Readiness(), MeshKey(bytes(32)), "one")
        async with open_service(platform) as register:
            local.install(register)
            stub = ToolsServiceStub(connections.channel("tools"))
            call = ToolCall(id="1", name="add", arguments=text_content('{"a": 1, "b": 2}'))
            assert plain((await stub.ExecuteTool(ExecuteToolRequest(agent=agent, call=call))).result.output) == "3"
    assert not (shop.parent / "__pycache__").exists()
    await local.stop(0)
    await connections.close()
