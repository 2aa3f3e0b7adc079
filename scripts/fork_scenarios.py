"""Runs that share another one's past: with an edited result, and with a write that is simulated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from history_scenario import Scenario

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import Fork, ForkedResult
from astromesh.v1.values_pb2 import ResourceRef, ToolCall, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.events.contents import plain, text_content
from astromesh_testing.admission import admit, events_until
from astromesh_testing.services import completion

_LOOK = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
_PAY = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)


async def _looks_and_pays(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Looks, pays, then says what the latter answered."""
    read = [message for message in request.messages if message.role == values.ROLE_TOOL]
    if len(read) < 2:
        yield completion(
            "", ToolCall(id=f"c{len(read)}", name=("look", "pay")[len(read)], arguments=text_content("{}"))
        )
    else:
        yield completion(plain(read[-1].content))


async def _edited(bus: Bus, agent: ResourceRef) -> dict[str, Any]:
    """A fork from where the first tool had answered, as if it had answered something else."""
    source = await admit(bus)
    events = await events_until(bus, source)
    at = next(event.index for event in events if event.envelope.run.HasField("tool_succeeded"))
    result = ForkedResult(path="2.1", output=text_content("nothing there"))
    return {"fork": Fork(run_id=source.id, index=at, agent=agent, results=[result])}


def fork_scenarios() -> dict[str, Scenario]:
    """By the name of their file."""
    forked = Scenario(follows=_edited)
    forked.services.tools.specs, forked.services.router.parts = (_LOOK, _PAY), _looks_and_pays
    return {"forked": forked}
