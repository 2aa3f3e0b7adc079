"""Records a run of each scenario below into `tests/histories/`, where it is missing: a stored history is never edited.

A new event, or a new version of a pattern, adds a scenario here. `python scripts/record_histories.py`
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import uvloop
from fork_scenarios import fork_scenarios
from guard_scenarios import guard_scenarios
from history_scenario import Scenario
from human_scenarios import human_scenarios
from pattern_scenarios import pattern_scenarios
from tool_scenarios import tool_scenarios

from astromesh.v1 import values_pb2 as values
from astromesh.v1.memory_pb2 import RecallResponse
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Restart
from astromesh.v1.run_events_pb2 import RecalledTurns
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_SUCCEEDED, CancelSignal, ResolveSignal, Signal
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Failure, Image, Message, Passage, ToolCall, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.chain import build_commit
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import FRAME_PATH
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.app import open_service
from astromesh_testing.admission import KEY, admit, events_until, put_agent
from astromesh_testing.nats import nats_server
from astromesh_testing.services import FakeServices, completion, one_tool, text

HISTORIES = Path(__file__).parent.parent / "tests" / "histories"
READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]"},
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 0},
        "unit": {"enum": ["kg", "g"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 1},
    },
    "required": ["id", "name"],
    "additionalProperties": False,
}


async def several_tools(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two calls at once, then one, then an answer."""
    rounds = sum(1 for message in request.messages if message.tool_calls)
    if rounds == 2:
        yield text("done")
        yield completion("done")
        return
    calls = [
        ToolCall(id=f"c{rounds}{n}", name="look", arguments=text_content(f'{{"n": {n}}}')) for n in range(2 - rounds)
    ]
    yield completion("let me look", *calls)


async def broken(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """No provider answers."""
    raise Unavailable("no provider answered")
    yield completion("never")


async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """A reply that stops in the middle."""
    yield text("so far")
    await asyncio.Event().wait()


async def falls_back(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """A candidate breaks off, the next one answers."""
    yield text("so far")
    yield CompleteResponse(restart=Restart(reason="the first one broke off"))
    yield text("done")
    yield completion("done")


async def breaks_off(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """The last candidate breaks off in its text."""
    yield text("so far")
    raise Unavailable("no provider answered")


async def corrected(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """An answer that breaks every kind of rule, then one that matches."""
    wrong = '{"id": "A1", "count": -1, "unit": "stone", "note": 7, "tags": ["b", 1], "colour": "red"}'
    right = '{"id": "a1", "name": "x", "count": 1, "unit": "kg", "note": null, "tags": []}'
    answer = wrong if request.path == "1" else right
    yield text(answer)
    yield completion(answer)


async def mismatched(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """No JSON, and then JSON that does not match."""
    yield completion("It is a1." if request.path == "1" else "{}")


async def thinks(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Thinks before it calls a tool, in two blocks of which one is sealed by its vendor, and before it answers."""
    results = [message for message in request.messages if message.role == values.ROLE_TOOL]
    yield CompleteResponse(reasoning_delta="let me see")
    call = ToolCall(id=f"call_{request.path}", name="look", arguments=text_content("{}"))
    whole = completion("a cat") if results else completion("", call)
    whole.completion.message.reasoning.add(text=text_content("let me see"), signature="c2lnbmVk")
    whole.completion.message.reasoning.add(signature="c2VhbGVk", redacted=True)
    yield whole


async def no_summary(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Nobody folds the session's turns; the question is answered all the same."""
    if request.path == FRAME_PATH:
        raise Unavailable("no provider answered")
    async for part in one_tool(request):
        yield part


async def no_answer(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """The connection to the tool breaks."""
    raise TimedOut("the connection broke")


async def refused(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """A definite failure."""
    return ExecuteToolResponse(failure=Failure(error_class="invalid-input", message=text_content("b is missing")))


async def retrieved(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """Passages."""
    passage = Passage(id="guide#0", source="guide.md", text=text_content("a fact"), score=0.75)
    return ExecuteToolResponse(result=ToolResult(output=text_content("a fact"), passages=[passage]))


async def cancel(bus: Bus, run: Aggregate) -> None:
    """A user stops the run, having read what came of the answer."""
    await events_until(bus, run, "model_call_begun")
    await asyncio.sleep(0.3)
    await bus.signals.send("default", Signal(id="stop", aggregate_id=run.id, cancel=CancelSignal(reason="enough")))


async def resolve(bus: Bus, run: Aggregate) -> None:
    """A human settles the unknown step."""
    await events_until(bus, run, "suspended")
    settled = ResolveSignal(path="2.1", outcome=RESOLVED_OUTCOME_SUCCEEDED, result=text_content("paid"))
    await bus.signals.send("default", Signal(id="settled", aggregate_id=run.id, principal="ann", resolve=settled))


def scenarios() -> dict[str, Scenario]:
    """By the name of their file."""
    found = {
        "answer": Scenario(),
        "one-tool": Scenario(),
        "several-tools": Scenario(),
        "sources": Scenario(),
        "refused-tool": Scenario(),
        "failed-model": Scenario(),
        "exhausted": Scenario(spec={"orchestration": {"max_iterations": 1}}),
        "cost-limited": Scenario(spec={"guardrails": {"output": [{"type": "cost_limit", "max_tokens_per_turn": 18}]}}),
        "timed-out": Scenario(spec={"orchestration": {"timeout_seconds": 0.2}}),
        "cancelled": Scenario(after=cancel),
        "fallback-billed": Scenario(),
        "broken-off-billed": Scenario(),
        "cancelled-billed": Scenario(after=cancel),
        "timed-out-billed": Scenario(spec={"orchestration": {"timeout_seconds": 0.5}}),
        "unknown-resolved": Scenario(after=resolve),
        "guarded-remembered": Scenario(
            query="my secret",
            session="s",
            spec={
                "prompts": {"system": "be kind"},
                "memory": {"conversational": {"backend": "sqlite"}},
                "guardrails": {
                    "input": [{"type": "max_length", "max_characters": 100}],
                    "output": [{"type": "pii_detection"}],
                },
            },
        ),
        "summarised": Scenario(session="s", spec={"memory": {"conversational": {"strategy": "summary"}}}),
        "summary-failed": Scenario(session="s", spec={"memory": {"conversational": {"strategy": "summary"}}}),
        "without-memory": Scenario(
            session="s", spec={"memory": {"conversational": {"backend": "redis", "on_unavailable": "continue"}}}
        ),
        "corrected": Scenario(spec={"output_schema": SCHEMA}),
        "mismatched": Scenario(asked={"output_schema_json": orjson.dumps(SCHEMA).decode()}),
        "seeing-and-thinking": Scenario(
            asked={
                "images": [
                    Image(media_type="image/png", data=text_content("iVBORw0KGgoAAAAN" * 8)),
                    Image(url=text_content("https://example.org/cat.png")),
                ]
            }
        ),
        "blocked": Scenario(
            query="forbidden", spec={"guardrails": {"input": [{"type": "max_length", "max_characters": 100}]}}
        ),
    }
    reading = (
        "one-tool",
        "several-tools",
        "sources",
        "refused-tool",
        "exhausted",
        "cost-limited",
        "seeing-and-thinking",
    )
    for name in reading:
        found[name].services.tools.specs = (READ,)
    found["unknown-resolved"].services.tools.specs = (WRITE,)
    found["unknown-resolved"].services.tools.execute = no_answer
    found["refused-tool"].services.tools.execute = refused
    found["sources"].services.tools.execute = retrieved
    found["several-tools"].services.router.parts = several_tools
    found["failed-model"].services.router.parts = broken
    for name in ("cancelled", "timed-out", "cancelled-billed", "timed-out-billed"):
        found[name].services.router.parts = endless
    found["fallback-billed"].services.router.parts = falls_back
    found["broken-off-billed"].services.router.parts = breaks_off
    found["one-tool"].services.router.parts = one_tool
    found["corrected"].services.router.parts = corrected
    found["mismatched"].services.router.parts = mismatched
    found["seeing-and-thinking"].services.router.parts = thinks
    found["guarded-remembered"].services.memory.messages = [
        Message(role=values.ROLE_USER, content=text_content("before")),
        Message(role=values.ROLE_ASSISTANT, content=text_content("then")),
    ]
    found["without-memory"].services.memory.gone = Unavailable("redis at redis://cache:6379/0: gone")
    for name in ("summarised", "summary-failed"):
        found[name].services.memory.recalled = RecallResponse(
            messages=found["guarded-remembered"].services.memory.messages,
            run_ids=["07-before"],
            summary=text_content("they met"),
            to_fold=RecalledTurns(
                messages=[Message(role=values.ROLE_USER, content=text_content("long ago"))], through_run_id="07-first"
            ),
        )
        found[name].services.tools.specs = (READ,)
        found[name].services.router.parts = one_tool
    found["summary-failed"].services.router.parts = no_summary
    return found


@asynccontextmanager
async def worker(bus: Bus, services: FakeServices, folder: Path) -> AsyncGenerator[None]:
    """A runtime with these services."""
    local = InProcessServer(Telemetry())
    local.install(services.register)
    connections = Connections(local, ("router", "tools", "memory", "guardrails", "rag"), {}, "token")
    settings = Settings(data_dir=folder, drain_seconds=1)
    async with open_service(Platform(settings, bus, connections, Telemetry(), Readiness(), KEY, "recorder")):
        yield
    await local.stop(0)
    await connections.close()


async def record(name: str, scenario: Scenario, path: Path) -> None:
    """Runs the scenario and writes its events as one commit."""
    with tempfile.TemporaryDirectory() as folder:
        async with nats_server(Path(folder)) as nats, nats.bus() as bus, worker(bus, scenario.services, Path(folder)):
            for name_of_other in scenario.agents:
                await put_agent(bus, name_of_other)
            agent = await put_agent(bus, **scenario.spec)
            asked = scenario.asked | await scenario.follows(bus, agent)
            run = await admit(bus, scenario.query, session=scenario.session, **asked)
            await scenario.after(bus, run)
            events = await events_until(bus, run)
    await asyncio.to_thread(path.write_bytes, build_commit(event.data for event in events))
    print(f"{name}: {len(events)} events")


async def main() -> None:
    """Records what is missing."""
    of_react = {**scenarios(), **human_scenarios(), **tool_scenarios(), **guard_scenarios(), **fork_scenarios()}
    everything = {f"react-1/{name}": scenario for name, scenario in of_react.items()} | pattern_scenarios()
    for name, scenario in everything.items():
        path = HISTORIES / f"{name}.binpb"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            await record(name, scenario, path)


if __name__ == "__main__":
    uvloop.run(main())
