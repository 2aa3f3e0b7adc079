"""Runs of other patterns than react, and runs with children, to be recorded. By folder and name of their file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from history_scenario import Scenario
from pydantic import JsonValue

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import Ancestor, Handoff, Lineage
from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh.v1.values_pb2 import ROLE_TOOL, TOOL_EFFECT_KIND_IDEMPOTENT, ResourceRef, ToolCall, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_testing.admission import events_until
from astromesh_testing.services import FakeServices, completion

HELPER = ToolSpec(name="ask", type="agent", agent="helper", effect=TOOL_EFFECT_KIND_IDEMPOTENT)
PLAN: list[dict[str, JsonValue]] = [
    {"id": "a", "task": "find A", "needs": []},
    {"id": "b", "task": "find B", "needs": []},
    {"id": "c", "task": "join them", "needs": ["a", "b"]},
]


async def told(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """The helper tells what it was asked; everybody else asks it twice, then tells what it said."""
    results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
    question = plain(request.messages[-1].content)
    if request.agent.name == "helper":
        if question == "refuse":
            raise Unavailable("no provider answered")
        yield completion(f"of {question}")
    elif results:
        yield completion(" and ".join(results))
    else:
        calls = [("1", '{"query": "one", "context": "all of it"}'), ("2", '{"query": "refuse"}'), ("3", "{}")]
        yield completion(
            "", *(ToolCall(id=number, name="ask", arguments=text_content(given)) for number, given in calls)
        )


async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """The helper never answers."""
    if request.agent.name == "helper":
        await asyncio.Event().wait()
    async for part in told(request):
        yield part


async def planned(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """A plan of which a step fails at first, a better one, its steps, and the answer."""
    question = plain(request.messages[-1].content)
    if request.role == "planner":
        again: list[dict[str, JsonValue]] = [{"id": "d", "task": "find C instead", "needs": ["a"]}]
        steps = again if "failed" in question else PLAN
        yield completion(orjson.dumps({"steps": steps}).decode())
    elif "Your step: find B" in question:
        raise Unavailable("no provider answered")
    else:
        yield completion(f"done by {request.role}")


async def branched(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Each branch says something of its own, one of them fails; a judge and a synthesizer have their say."""
    if request.role == "judge":
        yield completion("no JSON" if request.path == "2.1" else '{"reason": "it is right", "best": "two"}')
    elif request.path == "1.3.1":
        raise Unavailable("no provider answered")
    else:
        yield completion("both" if request.role == "synthesizer" else f"from {request.path}")


async def staged(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Each stage says where it stands."""
    yield completion(
        f"{plain(request.messages[-1].content).splitlines()[-1]}, then {request.agent.name} {request.path}"
    )


async def passed_on(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Who may hand the conversation over tries to hand it to nobody, then to another one, who answers."""
    may = any(tool.name == "hand_off" for tool in request.tools)
    if not may or request.agent.name == "other":
        yield completion("taken over")
        return
    told = any(message.role == ROLE_TOOL for message in request.messages)
    given = '{"agent": "other", "reason": "knows more"}' if told else '{"agent": "nobody"}'
    yield completion("", ToolCall(id=f"h{request.path}", name="hand_off", arguments=text_content(given)))


async def cancel(bus: Bus, run: Aggregate) -> None:
    """A user stops the run while it waits for its child."""
    await events_until(bus, run, "suspended")
    await bus.signals.send("default", Signal(id="stop", aggregate_id=run.id, cancel=CancelSignal(reason="enough")))


def pattern_scenarios() -> dict[str, Scenario]:
    """All of them."""
    found = {
        "react-1/children": _scenario(told),
        "react-1/children-cancelled": _scenario(endless, after=cancel),
        "plan_and_execute-1/planned-again": _scenario(planned, pattern="plan_and_execute"),
        "plan_and_execute-1/plan-failed": _scenario(planned, pattern="plan_and_execute", max_replans=0),
        "pipeline-1/stages": _scenario(staged, pattern="pipeline"),
        "pipeline-1/stage-of-an-agent": _scenario(
            staged, pattern="pipeline", stages=["first", {"name": "second", "agent": "helper"}]
        ),
        "supervisor-1/reviewed": _scenario(told, pattern="supervisor", workers=["helper"], max_reviews=1),
    }
    found["swarm-1/handed-over"] = _scenario(
        passed_on, pattern="swarm", agents=[{"agent": "helper", "description": "first"}, "other"]
    )
    found["swarm-1/handed-over"].agents = ("helper", "other")
    above = Ancestor(run_id="07-aaaaaaaaaaaaaaaaaaaaaaaaaa", agent=ResourceRef(kind="Agent", name="swarm"))
    lineage = Lineage(ancestors=[above], path="1.1", handoffs=[Handoff(agent="other", description="knows more")])
    found["react-1/handing-over"] = _scenario(passed_on)
    found["react-1/handing-over"].asked = {"lineage": lineage}
    for join in ("synthesis", "vote", "best_of"):
        found[f"parallel_fan_out-1/{join}"] = _scenario(
            branched, pattern="parallel_fan_out", branches=["one", "two", "three"], join=join
        )
    found["parallel_fan_out-1/quorum-missed"] = _scenario(
        branched, pattern="parallel_fan_out", branches=["one", "two", "three"], quorum=3
    )
    return found


def _scenario(
    parts: Callable[[CompleteRequest], AsyncIterator[CompleteResponse]], after: Any = None, **orchestration: Any
) -> Scenario:
    services = FakeServices()
    services.router.parts = parts
    pattern = orchestration.get("pattern", "react")
    if pattern in ("react", "supervisor"):
        services.tools.specs = (HELPER,)
    scenario = Scenario(services, {"orchestration": orchestration} if orchestration else {}, agents=("helper",))
    if after is not None:
        scenario.after = after
    return scenario
