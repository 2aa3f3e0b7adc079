"""Tools that servers offer an agent: asked for as each run begins, pinned in its log, and never asked for again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from astromesh.v1 import values_pb2 as values
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse, ToolSource
from astromesh.v1.values_pb2 import ToolOrigin, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.events.contents import plain, text_content
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.contracts.placement import until
from astromesh_testing.services import FakeServices

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]

SERVED = [{"name": "files", "type": "mcp", "command": "npx"}]
WELL = ToolSource(entry="files", connected=True, required=True, reason="Connected", message="files: 1 tool")


def offered(name: str, version: str) -> ToolSpec:
    origin = ToolOrigin(entry="files", name=name, version=version, sha256=version.encode())
    return ToolSpec(name=name, effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000, type="mcp", origin=origin)


async def test_each_run_begins_with_what_is_offered_then(bus: Bus, worker: Platform, services: FakeServices) -> None:
    await put_agent(bus, tools=SERVED)
    services.tools.sources = (WELL,)
    for number, name in enumerate(("read", "read_better"), 1):
        services.tools.specs = (offered(name, str(number)),)
        events = await events_until(bus, await admit(bus))
        started = next(event.envelope.run.started for event in events if event.envelope.run.HasField("started"))
        assert [tool.name for tool in started.tools] == [name]
        assert [call.call.name for call in services.tools.calls][-1:] == [name]
        assert services.tools.calls[-1].pinned == started.tools[0]
        assert replay([event.envelope for event in events]).identical


async def test_an_agent_whose_tools_are_its_own_asks_once(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.tools.specs = (ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000),)
    await put_agent(bus)
    for _ in range(3):
        await events_until(bus, await admit(bus))
    assert services.tools.described == 1
    assert not services.tools.calls[-1].HasField("pinned")


async def test_a_run_fails_at_its_start_where_a_required_server_is_away(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, tools=SERVED)
    away = ToolSource(entry="files", required=True, reason="TimedOut", message="files (npx): no answer")
    services.tools.sources = (away,)
    events = await events_until(bus, await admit(bus))
    failure = events[-1].envelope.run.failed.failure
    assert (failure.error_class, plain(failure.message)) == ("unavailable", "files (npx): no answer")
    services.tools.sources = (ToolSource(entry="files", reason="TimedOut", message="files (npx): no answer"),)
    assert kinds(await events_until(bus, await admit(bus)))[-1] == "completed"


async def test_a_run_under_way_goes_on_elsewhere_with_its_own_tools_though_nobody_offers_them_any_more(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    lost = False

    async def reads(request: ExecuteToolRequest) -> ExecuteToolResponse:
        await until(lambda: lost, 30)
        return ExecuteToolResponse(result=ToolResult(output=text_content("read")))

    services.tools.specs, services.tools.sources, services.tools.execute = (offered("read", "1"),), (WELL,), reads
    await put_agent(bus, tools=SERVED)
    async with start_worker(bus, services, "one"):
        run = await admit(bus)
        await until(lambda: bool(services.tools.calls), 10)
    services.tools.specs = ()
    services.tools.sources = (ToolSource(entry="files", required=True, reason="TimedOut", message="gone"),)
    lost = True
    async with start_worker(bus, services, "two"):
        events = await events_until(bus, run)
    assert kinds(events)[-1] == "completed"
    assert services.tools.calls[-1].pinned == offered("read", "1")
    assert replay([event.envelope for event in events]).identical
