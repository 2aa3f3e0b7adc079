"""Runs whose tools are within bounds: calls that are denied, steps made call by call, results that were cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

from history_scenario import Scenario

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import StoredValue, ToolCall, ToolResult, ToolSpec
from astromesh_core.events.contents import plain, text_content
from astromesh_testing.services import completion

_LOOK = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
_PAY = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)
_MORE = ToolSpec(name="more", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000, reads_results=True)
_DENIED = {"tool": "p*y", "when": "amount > 100", "roles": ["user"], "reason": "ask an admin"}


async def _pays_twice(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Looks, pays too much and pays in one step, then answers."""
    if any(message.role == values.ROLE_TOOL for message in request.messages):
        yield completion("paid what may be paid")
        return
    asked = (("look", "{}"), ("pay", '{"amount": 500}'), ("pay", '{"amount": 5}'))
    yield completion("", *(ToolCall(id=name + text, name=name, arguments=text_content(text)) for name, text in asked))


async def _reads_on(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Looks, reads on in what was cut, then answers."""
    rounds = sum(message.role == values.ROLE_TOOL for message in request.messages)
    if rounds == 2:
        yield completion("read it all")
        return
    yield completion("", ToolCall(id=f"c{rounds}", name=("look", "more")[rounds], arguments=text_content("{}")))


async def _cuts(request: ExecuteToolRequest) -> ExecuteToolResponse:
    result = ToolResult(tool_call_id=request.call.id, name=request.call.name, output=text_content("a long"))
    if request.call.name == "look":
        result.output.text += "\n[cut]"
        result.whole.CopyFrom(StoredValue(sha256=bytes(range(32)), size_bytes=14))
    else:
        result.cached = True
        result.output.text = f"story of {plain(request.call.arguments)}"
    return ExecuteToolResponse(result=result)


def tool_scenarios() -> dict[str, Scenario]:
    """By the name of their file."""
    denied = Scenario(spec={"permissions": {"deny": [_DENIED]}}, asked={"role": "user"})
    denied.services.tools.specs, denied.services.router.parts = (_LOOK, _PAY), _pays_twice
    cut = Scenario()
    cut.services.tools.specs, cut.services.router.parts = (_LOOK, _MORE), _reads_on
    cut.services.tools.execute = _cuts
    return {"denied-in-turn": denied, "cut-results": cut}
