"""Who may do what: keys, roles, namespaces; over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest

from astromesh.v1.agent_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    RunAgentRequest,
    StreamAgentRequest,
    WatchRunRequest,
)
from astromesh.v1.agent_pb2_grpc import AgentServiceStub, add_AgentServiceServicer_to_server
from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import Denied
from astromesh_core.readiness import Health, Readiness
from astromesh_core.rpc.serving import serve
from astromesh_gateway.app import KEYS_WITHIN_SECONDS, open_service
from astromesh_gateway.service import AgentServicer, KeyGate
from astromesh_testing.mesh import free_ports
from astromesh_testing.nats import NatsServer

from .conftest import Mesh, mesh_on

RUN = "/v1/agents/agent/run"


async def put_keys(bus: Bus, **roles: str) -> None:
    keys = [
        {"name": name, "hash": "sha256:" + hashlib.sha256(f"{name}-key".encode()).hexdigest(), "role": role}
        for name, role in roles.items()
    ]
    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="runtime")
    spec = json.dumps({"api_keys": keys, "admission": {"max_open_runs": 7}})
    await bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec))


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-key"}


@pytest.fixture
async def guarded(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway with a key of each role."""
    await put_keys(bus, ann="admin", uma="user", vic="viewer")
    async with mesh_on(nats, bus, tmp_path) as running:
        yield running


async def test_each_role_may_do_its_part(guarded: Mesh) -> None:
    body = {"query": "x"}
    client = guarded.client
    assert (await client.post(RUN, json=body)).status_code == 401
    assert (await client.post(RUN, json=body, headers=bearer("eve"))).status_code == 401
    assert (await client.post(RUN, json=body, headers=bearer("vic"))).status_code == 403
    run_id = (await client.post(RUN, json=body, headers=bearer("uma"))).json()["run_id"]
    (requested, *_) = (await client.get(f"/v1/runs/{run_id}/events", headers=bearer("vic"))).json()["events"]
    assert (requested["event"]["principal"], requested["event"]["role"]) == ("uma", "user")
    assert (await client.post(RUN, json=body, headers={"X-API-Key": "uma-key"})).status_code == 200
    assert (await client.get("/v1/agents", headers=bearer("vic"))).status_code == 200
    assert (await client.delete("/v1/agents/agent", headers=bearer("uma"))).status_code == 403
    assert (await client.delete("/v1/agents/agent", headers=bearer("ann"))).status_code == 204
    assert (await client.get("/v1/health")).status_code == 200
    refused = await client.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_key_acts_in_its_namespace_alone(guarded: Mesh) -> None:
    other = {"X-Astromesh-Namespace": "other"}
    body = {"query": "x"}
    assert (await guarded.client.post(RUN, json=body, headers={**bearer("uma"), **other})).status_code == 403
    assert (await guarded.client.post(RUN, json=body, headers={**bearer("ann"), **other})).status_code == 404
    rubbish = {**bearer("ann"), "X-Astromesh-Namespace": "a.b"}
    assert (await guarded.client.post(RUN, json=body, headers=rubbish)).status_code == 400


async def test_keys_of_two_callers_are_apart(guarded: Mesh) -> None:
    key = {"Idempotency-Key": "k"}
    runs = [
        (await guarded.client.post(RUN, json={"query": "x", "session_id": "s"}, headers={**bearer(name), **key})).json()
        for name in ("uma", "ann")
    ]
    assert runs[0]["run_id"] != runs[1]["run_id"]


async def test_a_changed_key_takes_effect_at_once(guarded: Mesh) -> None:
    await put_keys(guarded.bus, uma="viewer")
    async with asyncio.timeout(5):
        while (await guarded.client.post(RUN, json={"query": "x"}, headers=bearer("uma"))).status_code == 200:
            pass
    assert guarded.gateway.directory.max_open_runs("default") == 7


async def test_an_address_that_others_reach_needs_keys(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tmp_path
    monkeypatch.setattr("astromesh_gateway.app.KEYS_WITHIN_SECONDS", 0.2)
    settings = mesh.platform.settings.model_copy(update={"host": "0.0.0.0"})
    platform = type(mesh.platform)(
        settings,
        mesh.platform.bus,
        mesh.platform.connections,
        mesh.platform.telemetry,
        mesh.platform.readiness,
        mesh.platform.mesh_key,
        "two",
    )
    with pytest.raises(Denied, match="no API key is configured"):
        async with open_service(platform):
            pass


async def test_a_published_folder_without_keys_is_refused_without_waiting_longer(mesh: Mesh) -> None:
    async def published() -> Health:
        return Health(True)

    readiness = Readiness()
    readiness.register("operator", published)
    settings = mesh.platform.settings.model_copy(update={"host": "0.0.0.0"})
    begun = time.monotonic()
    with pytest.raises(Denied, match="no API key is configured"):
        async with open_service(replace(mesh.platform, settings=settings, readiness=readiness)):
            pass
    assert time.monotonic() - begun < KEYS_WITHIN_SECONDS / 2


async def test_keys_that_come_late_are_waited_for(mesh: Mesh) -> None:
    settings = mesh.platform.settings.model_copy(update={"host": "0.0.0.0"})
    opening = open_service(replace(mesh.platform, settings=settings))
    entering = asyncio.create_task(opening.__aenter__())
    await asyncio.sleep(0.3)
    assert not entering.done()
    await put_keys(mesh.bus, ann="admin")
    async with asyncio.timeout(5):
        await entering
    await opening.__aexit__(None, None, None)


async def test_the_whole_service_opens_both_ports_and_drains(mesh: Mesh) -> None:
    async with open_service(mesh.platform) as registrar:
        assert registrar is None


async def test_metrics_need_no_key_and_are_away_where_the_settings_say_so(guarded: Mesh) -> None:
    (port,) = free_ports(1)
    for serve_metrics, status in ((True, 200), (False, 404)):
        settings = guarded.platform.settings.model_copy(update={"port": port, "serve_metrics": serve_metrics})
        async with (
            open_service(replace(guarded.platform, settings=settings)),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            assert (await client.get("/v1/agents")).status_code == 401
            assert (await client.get("/metrics")).status_code == status


async def test_grpc_does_what_http_does(guarded: Mesh) -> None:
    servicer = AgentServicer(guarded.gateway)
    gate = KeyGate(guarded.gateway.authenticator)
    key = (("authorization", "Bearer uma-key"),)
    async with (
        serve(
            [lambda server: add_AgentServiceServicer_to_server(servicer, server)],
            "127.0.0.1:0",
            gate,
            guarded.platform.telemetry,
            drain_seconds=0,
        ) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = AgentServiceStub(channel)
        asked = RunAgentRequest(agent="agent", query="x", idempotency_key="k", context_json='{"a": 1}')
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RunAgent(asked)
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        run = (await stub.RunAgent(asked, metadata=key)).run
        assert run.answer.text == "it is 2"
        assert (await stub.GetRun(GetRunRequest(run_id=run.run_id), metadata=key)).run.events == 9
        parts = [part async for part in stub.StreamAgent(StreamAgentRequest(run=asked), metadata=key)]
        assert parts[-1].done.run_id == run.run_id
        assert "".join(part.token for part in parts) == "it is 2"
        assert [part.WhichOneof("part") for part in parts].count("tool_call") == 1
        events = [
            event async for event in stub.WatchRun(WatchRunRequest(run_id=run.run_id, from_index=3), metadata=key)
        ]
        assert [event.index for event in events] == list(range(3, 9))
        assert (await stub.CancelRun(CancelRunRequest(run_id=run.run_id), metadata=key)).run.run_id == run.run_id
        assert (await stub.ListRuns(ListRunsRequest(), metadata=key)).next_page_token == "next"
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.RunAgent(RunAgentRequest(agent="nobody", query="x"), metadata=key)
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as rubbish:
            await stub.RunAgent(RunAgentRequest(agent="agent", query="x", context_json="["), metadata=key)
        assert rubbish.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("header", ["Host", "Origin"])
async def test_a_page_that_reaches_this_machine_under_another_name_is_refused_where_no_key_is_needed(
    mesh: Mesh, header: str
) -> None:
    for name in ("evil.example", "http://evil.example:8000", "127.0.0.1.evil.example", "[::1"):
        answer = await mesh.client.get("/v1/runs", headers={header: name})
        assert (answer.status_code, header.lower() in answer.json()["detail"]) == (403, True), name
        refused = await mesh.client.post("/v1/agents/agent/run", json={"query": "what?"}, headers={header: name})
        assert refused.status_code == 403
    for name in ("localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000"):
        value = f"http://{name}" if header == "Origin" else name
        assert (await mesh.client.get("/v1/runs", headers={header: value})).status_code == 200
