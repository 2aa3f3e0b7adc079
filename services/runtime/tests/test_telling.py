"""Answers told while they are written: as the output rules let them go, with masks undone, and never more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Restart
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.values_pb2 import Passage
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, ended, events_until, put_agent
from astromesh_testing.contracts.placement import until
from astromesh_testing.services import ADA, FakeServices, completion, text

REDACTS = {"output": [{"type": "pii_detection"}]}
MASKS = {"input": [{"type": "pii_detection", "action": "mask"}]}


def writing(*pieces: str, go: asyncio.Event) -> Callable[[CompleteRequest], AsyncIterator[CompleteResponse]]:
    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        await go.wait()
        for piece in pieces:
            yield CompleteResponse(restart=Restart(reason="again")) if piece == "restart" else text(piece)
        yield completion("".join(pieces[pieces.index("restart") + 1 :] if "restart" in pieces else pieces))

    return parts


async def told(bus: Bus, services: FakeServices, query: str, *pieces: str) -> tuple[Aggregate, list[Delta]]:
    """The deltas of a run whose model writes these pieces."""
    go = asyncio.Event()
    services.router.parts = writing(*pieces, go=go)
    run, heard = await admit(bus, query), list[Delta]()
    async with bus.deltas.subscribe("default", run.id) as deltas:

        async def listen() -> None:
            async for delta in deltas:
                heard.append(delta)

        listening = asyncio.create_task(listen())
        go.set()
        await ended(bus, run)
        await asyncio.sleep(0.05)
        listening.cancel()
    return run, heard


async def test_an_answer_whose_rules_let_it_go_is_told_as_they_leave_it(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails=REDACTS)
    run, heard = await told(bus, services, "?", "a sec", "ret is ", "kept")
    assert [(delta.offset, delta.text) for delta in heard] == [(0, "a "), (2, "[GONE] is "), (12, "kept")]
    assert "".join(delta.text for delta in heard) == (await ended(bus, run)).answer.text


async def test_a_new_attempt_begins_with_nothing_held_back(bus: Bus, worker: Platform, services: FakeServices) -> None:
    await put_agent(bus, guardrails=REDACTS)
    run, heard = await told(bus, services, "?", "one two", "restart", "three four")
    assert [(delta.attempt, delta.text) for delta in heard] == [(1, "one "), (2, "three "), (2, "four")]
    assert (await ended(bus, run)).answer.text == "three four"


async def test_what_the_rules_cannot_be_asked_of_is_not_told(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.guardrails.away = Unavailable("away")
    await put_agent(bus, guardrails=REDACTS)
    run, heard = await told(bus, services, "?", "a sec", "ret")
    assert heard == []
    assert (await ended(bus, run)).answer.text == "a [GONE]"
    assert len(services.guardrails.parts) == 1


async def test_a_mask_is_undone_for_its_user_and_for_nobody_else(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails=MASKS, prompts={"system": f"Know that {ADA} asks."})
    run, heard = await told(bus, services, f"who is {ADA}?", "it is <EM", "AIL_1", "> of course")
    assert "".join(delta.text for delta in heard) == f"it is {ADA} of course"
    assert not any("<" in delta.text for delta in heard)
    events = await events_until(bus, run)
    assert events[-1].envelope.run.completed.answer.text == f"it is {ADA} of course"
    said = [plain(message.content) for message in services.router.requests[0].messages]
    assert said == ["Know that <EMAIL_1> asks.", "who is <EMAIL_1>?"]
    assert services.guardrails.parts == []
    assert replay([event.envelope for event in events]).identical


async def test_a_worker_that_takes_over_knows_what_the_tokens_stand_for(
    bus: Bus, start_worker: Callable[..., AbstractAsyncContextManager[Platform]]
) -> None:
    first, second = FakeServices(), FakeServices()
    first.router.parts = writing("never", go=asyncio.Event())
    second.router.parts = writing("to <EMAIL_1>", go=(go := asyncio.Event()))
    go.set()
    await put_agent(bus, guardrails=MASKS)
    async with start_worker(bus, first, "worker-1"):
        run = await admit(bus, f"write to {ADA}")
        await until(lambda: len(first.router.requests) == 1)
    async with start_worker(bus, second, "worker-2"):
        events = await events_until(bus, run)
    assert events[-1].envelope.run.completed.answer.text == f"to {ADA}"
    assert (len(first.guardrails.requests), len(second.guardrails.requests)) == (1, 0)
    assert replay([event.envelope for event in events]).identical


async def test_what_is_masked_in_knowledge_is_undone_in_the_answer_and_its_sources(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.rag.passages = [Passage(id="p", source="s", text=text_content(f"{ADA} knows"), score=0.9)]
    await put_agent(
        bus,
        guardrails={"tool_results": [{"type": "pii_detection", "action": "mask"}]},
        knowledge={"pipeline": "docs"},
    )
    run, heard = await told(bus, services, "who knows?", "<EMAIL_1>", " does")
    assert "".join(delta.text for delta in heard) == f"{ADA} does"
    events = await events_until(bus, run)
    completed = events[-1].envelope.run.completed
    assert (completed.answer.text, plain(completed.sources[0].text)) == (f"{ADA} does", f"{ADA} knows")
    assert ADA not in str(services.router.requests[0])
    assert replay([event.envelope for event in events]).identical


async def test_a_mask_stands_where_the_output_rules_look_and_the_answer_is_undone_after_them(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails={**MASKS, **REDACTS})
    run, heard = await told(bus, services, ADA, "secret <EMAIL", "_1> here")
    assert "".join(delta.text for delta in heard) == f"[GONE] {ADA} here" == (await ended(bus, run)).answer.text
    assert services.guardrails.requests[-1].text.text == "secret <EMAIL_1> here"
