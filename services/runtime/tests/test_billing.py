"""Every model call begun is billed by the log alone: those without a completion of their own as an estimate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from astromesh.v1.router_pb2 import Asked, CompleteRequest, CompleteResponse, Restart, RunSpend
from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh.v1.values_pb2 import Charge, Route, RouteStep, ToolCall, Usage
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.billing import Bill, tokens
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import fold
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.serving import serve
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime import model_calls
from astromesh_runtime.app import open_service
from astromesh_runtime.replay import replay
from astromesh_testing.admission import KEY, admit, events_until, kinds, put_agent
from astromesh_testing.contracts.placement import until
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices, Parts, completion, text

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]
QUERY = "what is it?"
PROMPT = tokens(len(QUERY))
TOKEN = "a-token-for-tests"


async def cancel(bus: Bus, run: Aggregate, seen: str = "") -> None:
    body = CancelSignal(seen=text_content(seen))
    await bus.signals.send("default", Signal(id=f"cancel {run.id}", aggregate_id=run.id, cancel=body))


def billed(events: list[StoredEvent]) -> Usage:
    """The usage that the run's end tells, which is what the events before it add up to, and what readers see."""
    envelopes = [event.envelope for event in events]
    end = envelopes[-1].run
    usage: Usage = getattr(end, end.WhichOneof("event") or "").usage
    assert Bill.of(envelope.run for envelope in envelopes).usage == usage == fold(envelopes).usage
    assert replay(envelopes).identical
    return usage


def events_of(events: list[StoredEvent], kind: str) -> list[RunEvent]:
    return [event.envelope.run for event in events if event.envelope.run.WhichOneof("event") == kind]


async def breaks_off(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    yield text("so far")
    await asyncio.Event().wait()


def lost(prompts: int, answered: str = "") -> Usage:
    return Usage(input_tokens=prompts * PROMPT, output_tokens=tokens(len(answered)), estimated=True)


@pytest.mark.parametrize("spec", [{}, {"guardrails": {"output": [{"type": "pii_detection"}]}}], ids=["told", "checked"])
async def test_a_call_that_a_cancel_cuts_is_billed_with_the_text_that_came(
    bus: Bus, worker: Platform, services: FakeServices, spec: dict[str, Any]
) -> None:
    services.router.parts = breaks_off
    await put_agent(bus, **spec)
    run = await admit(bus, QUERY)
    await until(lambda: bool(services.router.requests), 5)
    await asyncio.sleep(0.1)
    await cancel(bus, run)
    events = await events_until(bus, run)
    assert billed(events) == events[-1].envelope.run.cancelled.lost_usage == lost(1, "so far")


async def answers_for_money(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    asked = Asked(provider="first", model="m", input_nanos=3_000_000, output_nanos=15_000_000)
    yield CompleteResponse(text_delta="so far", asked=asked)
    await asyncio.Event().wait()


async def test_a_cut_call_of_a_model_that_had_begun_to_answer_is_billed_by_its_prices(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.router.parts = answers_for_money
    await put_agent(bus)
    run = await admit(bus, QUERY)
    await until(lambda: bool(services.router.requests), 5)
    await asyncio.sleep(0.1)
    await cancel(bus, run)
    events = await events_until(bus, run)
    cancelled = events[-1].envelope.run.cancelled
    cost = (PROMPT * 3_000_000 + tokens(len("so far")) * 15_000_000) // 1000
    charge = Charge(provider="first", model="m", usage=lost(1, "so far"), cost_nanos=cost, currency="USD")
    assert ([*cancelled.partial_charges], cancelled.HasField("lost_usage")) == ([charge], False)
    assert billed(events) == lost(1, "so far")
    assert fold(event.envelope for event in events).cost_nanos == cost


async def test_prices_of_a_model_are_not_those_of_the_next_one(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield CompleteResponse(text_delta="so far", asked=Asked(provider="first", model="m", output_nanos=10**9))
        yield CompleteResponse(restart=Restart(reason="fallback"))
        await asyncio.Event().wait()

    services.router.parts = parts
    await put_agent(bus, orchestration={"timeout_seconds": 0.5})
    events = await events_until(bus, await admit(bus, QUERY))
    (charge,) = events_of(events, "model_call_begun")[1].model_call_begun.partial_charges
    assert (charge.model, charge.cost_nanos) == ("m", tokens(len("so far")) * 10**6)
    assert events[-1].envelope.run.failed.lost_usage == lost(1)
    assert billed(events) == lost(2, "so far")


async def test_a_call_that_nobody_answered_keeps_its_route(bus: Bus, worker: Platform, services: FakeServices) -> None:
    route = Route(strategy="in order", steps=[RouteStep(provider="first", model="m", error_class="denied")])

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield CompleteResponse(failed_route=route)
        raise Unavailable("nobody answers")

    services.router.parts = parts
    await put_agent(bus)
    events = await events_until(bus, await admit(bus, QUERY))
    assert events_of(events, "model_replied")[0].model_replied.route == route
    assert fold(event.envelope for event in events).steps[0].route == route


async def test_a_call_that_the_deadline_cuts_is_billed(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.router.parts = breaks_off
    await put_agent(bus, orchestration={"timeout_seconds": 0.5})
    events = await events_until(bus, await admit(bus, QUERY))
    assert kinds(events)[-2:] == ["timed_out", "failed"]
    assert billed(events) == events[-1].envelope.run.failed.lost_usage == lost(1, "so far")


async def test_a_candidate_that_broke_off_is_billed_beside_the_one_that_answered(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield text("so far")
        yield CompleteResponse(restart=Restart(reason="fallback"))
        yield completion("good day")

    services.router.parts = parts
    await put_agent(bus)
    events = await events_until(bus, await admit(bus, QUERY))
    first, second = events_of(events, "model_call_begun")
    assert not first.model_call_begun.HasField("lost_usage")
    assert second.model_call_begun.lost_usage == lost(1, "so far")
    assert billed(events) == Usage(input_tokens=10 + PROMPT, output_tokens=5 + 2, estimated=True)


async def test_a_candidate_whose_cost_the_router_tells_is_not_estimated_beside_it(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    partial = Charge(provider="first", model="m", usage=Usage(input_tokens=100, output_tokens=7), cost_nanos=9)

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield text("so far")
        yield CompleteResponse(partial_charge=partial)
        yield CompleteResponse(restart=Restart(reason="fallback"))
        yield CompleteResponse(partial_charge=partial)
        yield completion("good day")

    services.router.parts = parts
    await put_agent(bus)
    events = await events_until(bus, await admit(bus, QUERY))
    second = events_of(events, "model_call_begun")[1].model_call_begun
    assert ([*second.partial_charges], second.HasField("lost_usage")) == ([partial], False)
    assert [*events_of(events, "model_replied")[0].model_replied.partial_charges] == [partial]
    assert billed(events) == Usage(input_tokens=210, output_tokens=19)
    assert fold(event.envelope for event in events).cost_nanos == 18


async def test_a_candidate_that_was_charged_is_not_estimated_again_when_its_silence_fails_the_call(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    partial = Charge(provider="only", model="m", usage=Usage(input_tokens=100, output_tokens=7), cost_nanos=9)

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield text("so far")
        yield CompleteResponse(partial_charge=partial)
        raise TimedOut("nothing more within 30 s")

    services.router.parts = parts
    await put_agent(bus)
    events = await events_until(bus, await admit(bus, QUERY))
    assert kinds(events)[-2:] == ["model_replied", "failed"]
    assert [*events_of(events, "model_replied")[0].model_replied.partial_charges] == [partial]
    assert billed(events) == Usage(input_tokens=100, output_tokens=7)


async def test_the_router_is_told_who_asks_which_attempt_it_is_and_what_the_run_has_cost(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    partial = Charge(provider="first", model="m", usage=Usage(input_tokens=100, output_tokens=7), cost_nanos=9)

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if len(services.router.requests) == 1:
            yield CompleteResponse(partial_charge=partial)
            yield completion("", ToolCall(id="c", name="add", arguments=text_content("{}")))
        else:
            yield completion("good day")

    services.router.parts = parts
    await put_agent(bus)
    run = await admit(bus, QUERY)
    events = await events_until(bus, run)
    principal = events[0].envelope.run.requested.principal
    assert principal
    first, second = services.router.requests
    assert {first.principal, second.principal} == {principal}
    assert (first.attempt, first.run_spend) == (1, RunSpend())
    assert (second.attempt, second.run_spend.cost_nanos) == (1, 9)
    assert second.run_spend.tokens == 100 + 7 + 10 + 5


@pytest.mark.parametrize(("answer", "usage"), [("", Usage()), ("so far", lost(1, "so far"))])
async def test_a_refusal_costs_nothing_but_one_after_text_is_billed(
    bus: Bus, worker: Platform, services: FakeServices, answer: str, usage: Usage
) -> None:
    async def fails(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if answer:
            yield text(answer)
        raise Unavailable("no provider answered")

    services.router.parts = fails
    await put_agent(bus)
    events = await events_until(bus, await admit(bus, QUERY))
    assert kinds(events)[-2:] == ["model_replied", "failed"]
    assert billed(events) == usage


async def test_a_call_lost_with_its_worker_is_billed_though_the_run_never_goes_on(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    services.router.parts = breaks_off
    await put_agent(bus)
    async with start_worker(bus, services, "one"):
        run = await admit(bus, QUERY)
        await until(lambda: bool(services.router.requests), 5)
    await cancel(bus, run, seen="so far")
    async with start_worker(bus, services, "two"):
        events = await events_until(bus, run)
    # Where the signal comes late, the call is begun once more before the run is cancelled.
    assert billed(events).input_tokens == kinds(events).count("model_call_begun") * PROMPT


async def test_calls_lost_with_their_workers_are_billed_beside_the_one_that_answered(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    services.router.parts = breaks_off
    await put_agent(bus)
    run = await admit(bus, QUERY)
    for number in (1, 2):
        async with start_worker(bus, services, f"worker-{number}"):
            await until(lambda number=number: len(services.router.requests) == number, 20)

    async def answers(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield completion("good day")

    services.router.parts = answers
    async with start_worker(bus, services, "last"):
        events = await events_until(bus, run)
    again = [event.model_call_begun for event in events_of(events, "model_call_begun")[1:]]
    assert [begun.lost_usage for begun in again] == [lost(1)] * 2
    assert [begun.reason for begun in again] == [model_calls.WORKER_GONE] * 2
    assert billed(events) == Usage(input_tokens=10 + 2 * PROMPT, output_tokens=5, estimated=True)


@asynccontextmanager
async def worker_across(
    socket: str, bus: Bus, nats: NatsServer, folder: Path, *, router: str = ""
) -> AsyncGenerator[None]:
    """A worker whose services stand in another process, behind a socket; the router behind one of its own, if named."""
    places = {"router": router or socket, **dict.fromkeys(("tools", "memory", "guardrails", "rag"), socket)}
    connections = Connections(InProcessServer(Telemetry()), (), places, TOKEN)
    settings = Settings(data_dir=folder, nats_url=nats.url, drain_seconds=1)
    async with open_service(Platform(settings, bus, connections, Telemetry(), Readiness(), KEY, "worker")):
        yield
    await connections.close()


async def falls_back_and_breaks_off(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    yield text("so")
    yield CompleteResponse(restart=Restart(reason="fallback"))
    yield text("so far")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("parts", "told", "losses"),
    [
        (breaks_off, [(1, "so far")], [lost(1, "so far")]),
        (falls_back_and_breaks_off, [(1, "so"), (2, "so far")], [lost(1, "so"), lost(1, "so far")]),
    ],
)
async def test_a_call_whose_router_goes_away_is_begun_anew_and_both_are_billed(
    bus: Bus,
    nats: NatsServer,
    tmp_path: Path,
    services: FakeServices,
    parts: Parts,
    told: list[tuple[int, str]],
    losses: list[Usage],
) -> None:
    def serving() -> AbstractAsyncContextManager[object]:
        return serve([services.register], f"unix:{tmp_path}/s", MeshGate(TOKEN), Telemetry(), drain_seconds=0)

    async def answers(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield text("good ")
        yield completion("good day")

    services.router.parts = parts
    await put_agent(bus)
    async with worker_across(f"unix:{tmp_path}/s", bus, nats, tmp_path):
        run = await admit(bus, QUERY)
        async with bus.deltas.subscribe("default", run.id) as deltas:
            async with serving():
                heard = [await anext(deltas) for _ in told]
            services.router.parts = answers
            # A router that is not there yet costs nothing.
            await asyncio.sleep(0.5)
            async with serving():
                heard.append(await anext(deltas))
                events = await events_until(bus, run)
    begun = events_of(events, "model_call_begun")
    assert [event.model_call_begun.lost_usage for event in begun[1:]] == losses
    assert (begun[0].model_call_begun.reason, begun[-1].model_call_begun.reason) == ("", model_calls.ROUTER_GONE)
    assert [(delta.attempt, delta.text) for delta in heard] == [*told, (len(begun), "good ")]
    assert kinds(events)[-1] == "completed"
    assert billed(events).input_tokens == 10 + len(losses) * PROMPT
    assert billed(events).output_tokens == 5 + sum(loss.output_tokens for loss in losses)


async def test_a_call_that_never_reached_a_router_costs_nothing(
    bus: Bus, nats: NatsServer, tmp_path: Path, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_calls, "ROUTER_PAUSES_SECONDS", (0.01, 0.01))
    await put_agent(bus)
    there, nobody = f"unix:{tmp_path}/s", f"unix:{tmp_path}/nobody"
    async with (
        serve([services.register], there, MeshGate(TOKEN), Telemetry(), drain_seconds=0),
        worker_across(there, bus, nats, tmp_path, router=nobody),
    ):
        events = await events_until(bus, await admit(bus, QUERY))
    assert kinds(events).count("model_call_begun") == 1
    assert events[-1].envelope.run.failed.failure.error_class == "unavailable"
    assert billed(events) == Usage()
