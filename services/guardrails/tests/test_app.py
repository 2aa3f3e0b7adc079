"""The service as it is composed: on a real server, with the rights of its own, in process."""

from __future__ import annotations

from pathlib import Path

import orjson

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, CheckTextRequest
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub
from astromesh.v1.values_pb2 import ResourceRef
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
from astromesh_guardrails.app import open_service
from astromesh_testing.nats import NatsServer


async def put_agent(bus: Bus, **parts: object) -> ResourceRef:
    raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}, **parts}
    record = ResourceRecord(
        ref=ResourceRef(kind="Agent", namespace="default", name="desk"),
        managed_by=MANAGED_BY_API,
        spec_json=AgentSpec.model_validate_json(orjson.dumps(raw)).to_json(),
    )
    return (await bus.resources.put(record)).ref


async def test_checks_by_the_rules_of_a_stored_agent(nats: NatsServer, bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, guardrails={"input": [{"type": "pii_detection"}]})
    telemetry = Telemetry()
    local = InProcessServer(telemetry)
    connections = Connections(local, ("guardrails", "rag"), {}, "token")
    settings = Settings(config_dir=tmp_path / "config", data_dir=tmp_path / "data", nats_url=nats.url)
    async with nats.bus("guardrails") as own:
        platform = Platform(settings, own, connections, telemetry, Readiness(), MeshKey(bytes(32)), "one")
        async with open_service(platform) as register:
            local.install(register)
            stub = GuardrailsServiceStub(connections.channel("guardrails"))
            request = CheckTextRequest(agent=agent, stage=GUARDRAIL_STAGE_INPUT, text=text_content("ada@example.com"))
            assert plain((await stub.CheckText(request)).text) == "[EMAIL]"
    await local.stop(0)
    await connections.close()
