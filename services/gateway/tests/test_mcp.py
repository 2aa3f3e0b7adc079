"""Agents as tools of MCP clients over HTTP: the official SDK's client in each protocol, against a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.subscriptions import ToolsListChanged
from mcp_types import CallToolResult, TextContent

from astromesh.v1.run_events_pb2 import SURFACE_MCP, RunEvent
from astromesh.v1.runs_pb2 import RUN_STATUS_RUNNING, Run
from astromesh_core.resources.extras import MCP
from astromesh_testing.admission import put_agent
from astromesh_testing.nats import NatsServer
from astromesh_testing.scripted_runtime import ScriptedRun
from astromesh_testing.waiting import until

from .conftest import Mesh, mesh_on
from .test_running import waits_for_cancel

MODERN, LEGACY, SSE = WAYS = ("2026-07-28", "legacy", "sse")
JSON_RPC = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def client_of(mesh: Mesh, way: str, query: str = "", **options: object) -> AsyncGenerator[Client]:
    target = sse_client(f"http://{mesh.url}/mcp/sse{query}") if way == SSE else f"http://{mesh.url}/mcp{query}"
    mode = "auto" if way == MODERN else "legacy"
    async with Client(target, mode=mode, **options) as client:  # pyright: ignore[reportArgumentType] - passed on as given
        yield client


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def last_event(mesh: Mesh, run: ScriptedRun) -> RunEvent:
    return [event async for event in mesh.bus.log.follow(run.aggregate)][-1].envelope.run


async def counted(mesh: Mesh, request: str) -> bool:
    return f"astromesh_http_requests_total{{{request}}}" in (await mesh.client.get("/metrics")).text


async def listed(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("way", WAYS)
async def test_lists_agents_and_runs_one_telling_its_steps(mesh: Mesh, way: str) -> None:
    steps: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        del total
        steps.append((progress, message))

    async with client_of(mesh, way) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("agent", {"query": "what is 1 + 1?", "session_id": "t"}, progress_callback=note)
    (run,) = mesh.runtime.runs.values()
    assert (tool.name, tool.input_schema["required"]) == ("agent", ["query"])
    assert not result.is_error
    assert text_of(result) == "it is 2"
    assert result.meta is not None
    assert (result.meta["astromesh/run_id"], result.meta["astromesh/session_id"]) == (run.aggregate.id, "t")
    assert [message for _, message in steps][1:6] == [
        "agent begins",
        "agent asks a model",
        "fake-1 replied",
        "agent calls add",
        "add answered",
    ]
    assert sorted(steps) == steps
    assert run.requested.surface == SURFACE_MCP


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_calls_off_its_call_cancels_the_run(mesh: Mesh, way: str) -> None:
    mesh.runtime.script = waits_for_cancel
    async with client_of(mesh, way) as client:
        calling = asyncio.create_task(client.call_tool("agent", {"query": "x"}))
        run = await mesh.runtime.next_run()
        calling.cancel()
        ended = await last_event(mesh, run)
        with suppress(asyncio.CancelledError):
            await calling
        assert ended.cancelled.reason == "cancelled by the client"
        assert await listed(client) == ["agent"], "the client's other requests go on"


@pytest.mark.parametrize(("query", "ends"), [("", "completed"), ("?cancel_on_disconnect=true", "cancelled")])
async def test_a_client_of_the_older_protocol_that_vanishes_leaves_its_run_to_the_usual_policy(
    mesh: Mesh, query: str, ends: str
) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        if ends == "cancelled":
            await run.cancelled_by(await run.signals.get())
        else:
            await asyncio.sleep(0.3)
            await run.complete("done anyway")

    mesh.runtime.script = script
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    body = {**call, "params": {"name": "agent", "arguments": {"query": "x"}}}
    async with mesh.client.stream("POST", f"/mcp{query}", json=body, headers=JSON_RPC) as reply:
        assert reply.status_code == 200
        run = await mesh.runtime.next_run()
    assert (await last_event(mesh, run)).WhichOneof("event") == ends
    assert run.signals.empty()


async def test_any_gateway_calls_off_what_another_one_began(
    mesh: Mesh, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mesh.runtime.script = waits_for_cancel
    session = {**JSON_RPC, "Mcp-Session-Id": "one-session"}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
    body = {**call, "params": {"name": "agent", "arguments": {"query": "x"}}}
    asking = asyncio.create_task(mesh.client.post("/mcp", json=body, headers=session))
    run = await mesh.runtime.next_run()
    async with mesh_on(nats, mesh.bus, tmp_path_factory.mktemp("other")) as other:
        key = run.requested.session_key
        other.services.history.runs = [
            Run(run_id=run.aggregate.id, session_key=key, namespace="default", status=RUN_STATUS_RUNNING)
        ]
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        stranger = await other.client.post("/mcp", json=cancel, headers={**JSON_RPC, "Mcp-Session-Id": "another"})
        taken = await other.client.post("/mcp", json=cancel, headers=session)
        ended = await last_event(mesh, run)
    assert (stranger.status_code, taken.status_code) == (202, 202)
    assert ended.cancelled.reason == "cancelled by the client"
    assert "cancelled" in (await asking).text


async def test_a_message_that_comes_twice_is_one_run(mesh: Mesh) -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
    body = {**call, "params": {"name": "agent", "arguments": {"query": "x"}}}
    headers = {**JSON_RPC, "Mcp-Session-Id": "one-session"}
    answers = [(await mesh.client.post("/mcp", json=body, headers=headers)).text for _ in range(2)]
    assert all("it is 2" in answer for answer in answers)
    assert len(mesh.runtime.runs) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_clients_hear_of_a_new_agent(mesh: Mesh, way: str) -> None:
    heard = asyncio.Event()

    async def note(message: object) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            heard.set()

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(mesh, way, message_handler=note))
        assert await listed(client) == ["agent"]
        listens = client.listen(tools_list_changed=True) if way == MODERN else nullcontext(None)
        subscription = await stack.enter_async_context(listens)
        if way == LEGACY:
            # Its stream is opened beside its first requests.
            await until(lambda: counted(mesh, 'method="GET",route="/mcp",status="200"'))
        await put_agent(mesh.bus, "second", identity={"display_name": "Second", "description": "Comes later."})
        async with asyncio.timeout(5):
            if subscription is not None:
                assert isinstance(await anext(aiter(subscription)), ToolsListChanged)
            else:
                await heard.wait()
        tools = (await client.list_tools()).tools
    assert [(tool.name, tool.title, tool.description) for tool in tools][1] == ("second", "Second", "Comes later.")


@pytest.mark.parametrize("way", WAYS)
async def test_says_what_is_wrong_so_that_a_model_can_mend_it(mesh: Mesh, way: str) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.fail("timed-out", "the model did not answer")

    mesh.runtime.script = script
    async with client_of(mesh, way) as client:
        nothing = await client.call_tool("agent", {"session_id": "t"})
        unknown = await client.call_tool("agent", {"query": "x", "quest": 1})
        large = await client.call_tool("agent", {"query": "x", "context": {"n": 1 << 80}})
        failed = await client.call_tool("agent", {"query": "x"})
        with pytest.raises(MCPError, match="did you mean 'agent'"):
            await client.call_tool("agnet", {"query": "x"})
    assert nothing.is_error
    assert "query: Field required" in text_of(nothing)
    assert "quest: Extra inputs are not permitted" in text_of(unknown)
    assert "invalid-input: the arguments cannot be taken" in text_of(large)
    assert failed.is_error
    assert text_of(failed).startswith("timed-out: the model did not answer Run ")


async def test_a_run_that_waits_says_so_and_is_no_answer(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.call("1.1", "pay")
        await run.lost("1.1")

    mesh.runtime.script = script
    async with client_of(mesh, MODERN) as client:
        result = await client.call_tool("agent", {"query": "x"})
    assert not result.is_error
    assert "There is no answer yet: run " in text_of(result)
    assert "asking again would begin another run" in text_of(result)


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_with_an_output_schema_answers_in_structure(mesh: Mesh, way: str) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    await put_agent(mesh.bus, "adder", output_schema=schema)

    async def script(run: ScriptedRun) -> None:
        run.requested.output_schema_json = '{"type": "object"}'
        await run.start()
        await run.complete('{"sum": 2}')

    mesh.runtime.script = script
    async with mesh.gateway.directory.changed:
        await mesh.gateway.directory.changed.wait_for(lambda: len(mesh.gateway.directory.records("Agent")) == 2)
    async with client_of(mesh, way) as client:
        tool = (await client.list_tools()).tools[0]
        result = await client.call_tool("adder", {"query": "1 + 1"})
    assert tool.output_schema == schema
    assert result.structured_content == {"sum": 2}
    assert text_of(result) == '{"sum": 2}'


async def test_a_page_of_a_browser_under_another_name_is_refused(mesh: Mesh) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        refused = await mesh.client.post("/mcp", json=ping, headers={**JSON_RPC, **header})
        assert refused.status_code == 403, header
    local = await mesh.client.post("/mcp", json=ping, headers={**JSON_RPC, "Origin": "http://localhost:5173"})
    assert local.status_code == 200
    assert await counted(mesh, 'method="POST",route="/mcp",status="403"')


async def test_without_the_extra_the_path_says_how_to_get_it(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(MCP), "installed", False)
    refused = await mesh.client.post("/mcp", json={})
    assert refused.status_code == 501
    assert "pip install 'astromesh[mcp]'" in refused.json()["detail"]
    assert (await mesh.client.put("/mcp", json={})).status_code == 405


@pytest.mark.parametrize(("path", "session"), [("/mcp", {"Mcp-Session-Id": "s"}), ("/mcp/sse", {})])
async def test_a_gateway_that_drains_ends_its_streams(mesh: Mesh, path: str, session: dict[str, str]) -> None:
    headers = {"Accept": "text/event-stream", **session}
    async with mesh.client.stream("GET", path, headers=headers) as stream, asyncio.timeout(5):
        assert stream.status_code == 200
        mesh.gateway.draining.set()
        async for _ in stream.aiter_bytes():
            pass


async def test_the_oldest_clients_are_served_at_the_path_of_the_newest_too(mesh: Mesh) -> None:
    async with Client(sse_client(f"http://{mesh.url}/mcp"), mode="legacy") as client:
        assert await listed(client) == ["agent"]
        assert text_of(await client.call_tool("agent", {"query": "x"})) == "it is 2"
