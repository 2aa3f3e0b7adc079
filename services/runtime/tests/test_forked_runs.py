"""Forks that a worker takes up: what was edited is checked again, and a past that a crash cut is still shared."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import Fork, ForkedResult
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Content, ResourceRef, ToolCall, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut
from astromesh_core.events.chain import ChainHead, StoredEvent, build_commit, seal
from astromesh_core.events.contents import plain, text_content
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, completion

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]
WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)
READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
RULES = [{"type": "pii_detection"}]
DIGEST_KEY = text_content(base64.b64encode(b"d" * 16).decode())


async def found(request: ExecuteToolRequest) -> ExecuteToolResponse:
    return ExecuteToolResponse(result=ToolResult(name=request.call.name, output=text_content("it was found")))


def calling(*names: str, arguments: str = "{}"):
    """Calls one tool after the other, and says what the last one answered."""

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        read = [message for message in request.messages if message.role == values.ROLE_TOOL]
        if len(read) < len(names):
            name = names[len(read)]
            call = ToolCall(id=f"c{len(read)}", name=name, arguments=text_content(arguments))
            yield completion("", call)
        else:
            yield completion(f"it says {plain(read[-1].content)}")

    return parts


async def forked(
    bus: Bus,
    source: Aggregate,
    agent: ResourceRef,
    at: int,
    *,
    query: str = "what is it?",
    live: bool = False,
    **results: str,
) -> Aggregate:
    edited = [
        ForkedResult(path=path.removeprefix("at_").replace("_", "."), output=text_content(text))
        for path, text in results.items()
    ]
    fork = Fork(run_id=source.id, index=at, agent=agent, live=live, results=edited)
    return await admit(bus, query, fork=fork, digest_key=DIGEST_KEY)


def identical(events: list[StoredEvent]) -> bool:
    return replay([event.envelope for event in events]).identical


def text_of(events: list[StoredEvent], kind: str) -> str:
    (event,) = [event.envelope.run for event in events if event.envelope.run.WhichOneof("event") == kind]
    content: Content = getattr(event, kind).text
    return plain(content)


async def test_an_edited_question_is_checked_again(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.router.parts, services.tools.specs = calling("look"), (READ,)
    services.tools.execute = found
    agent = await put_agent(bus, guardrails={"input": RULES})
    source = await admit(bus, digest_key=DIGEST_KEY)
    last = len(await events_until(bus, source)) - 1
    asked = len(services.router.requests)
    same = await events_until(bus, await forked(bus, source, agent, last))
    other = await events_until(bus, await forked(bus, source, agent, last, query="a secret"))
    refused = await events_until(bus, await forked(bus, source, agent, last, query="forbidden"))
    assert [text_of(events, "input_checked") for events in (same, other)] == ["what is it?", "a [GONE]"]
    assert [kinds(events)[-1] for events in (same, other, refused)] == ["completed", "completed", "failed"]
    assert len(services.router.requests) == asked
    assert all(identical(events) for events in (same, other, refused))
    assert len(services.guardrails.requests) == 3


async def test_an_edited_result_is_checked_again(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.router.parts, services.tools.specs = calling("look"), (READ,)
    services.tools.execute = found
    agent = await put_agent(bus, guardrails={"tool_results": RULES})
    source = await admit(bus, digest_key=DIGEST_KEY)
    last = len(await events_until(bus, source)) - 1
    events = await events_until(bus, await forked(bus, source, agent, last, at_2_1="a secret"))
    assert text_of(events, "tool_result_checked") == "a [GONE]"
    assert "a [GONE]" in plain(services.router.requests[-1].messages[-1].content)
    assert identical(events)


async def test_an_edited_result_that_the_fork_does_not_come_to_is_refused(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.router.parts, services.tools.specs = calling("look", "look"), (READ,)
    agent = await put_agent(bus, guardrails={"tool_results": RULES})
    source = await admit(bus, digest_key=DIGEST_KEY)
    last = len(await events_until(bus, source)) - 1
    both = await forked(bus, source, agent, last, at_2_1="one", at_4_1="two")
    end = (await events_until(bus, both))[-1].envelope.run
    assert "4.1" in plain(end.failed.failure.message)


async def test_what_comes_after_a_refused_call_is_shared(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.router.parts = calling("pay", "look", arguments='{"to": "forbidden"}')
    services.tools.specs = (WRITE, READ)
    agent = await put_agent(bus, guardrails={"tool_arguments": RULES})
    source = await admit(bus, digest_key=DIGEST_KEY)
    before = await events_until(bus, source)
    asked = len(services.router.requests)
    events = await events_until(bus, await forked(bus, source, agent, len(before) - 1))
    assert len(services.router.requests) == asked
    assert kinds(events)[1:-1] == kinds(before)[1:-1]
    assert identical(events)


@pytest.mark.parametrize("stored", [1, 2, 4, 5, 6])
async def test_a_past_that_a_crash_cut_is_shared_all_the_same(
    bus: Bus, services: FakeServices, start_worker: StartWorker, stored: int
) -> None:
    services.router.parts, services.tools.specs = calling("pay", "pay"), (WRITE,)
    agent = await put_agent(bus)
    async with start_worker(bus, services, "first"):
        source = await admit(bus, digest_key=DIGEST_KEY)
        last = len(await events_until(bus, source)) - 1
        whole = await events_until(bus, await forked(bus, source, agent, last, live=True))
    assert (len(services.tools.calls), len(services.router.requests)) == (2, 3)
    cut = await forked(bus, source, agent, last, live=True)
    await written(bus, cut, [event.envelope for event in whole[1 : 1 + stored]])
    async with start_worker(bus, services, "second"):
        events = await events_until(bus, cut)
    assert kinds(events)[-1] == "completed"
    assert (len(services.tools.calls), len(services.router.requests)) == (2, 3)
    assert [kind for kind in kinds(events) if kind != "claimed"] == kinds(whole)
    assert identical(events)


async def test_a_source_that_cannot_be_read_for_now_is_waited_for(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.router.parts, services.tools.specs = calling("pay"), (WRITE,)
    agent = await put_agent(bus)
    source = await admit(bus, digest_key=DIGEST_KEY)
    last = len(await events_until(bus, source)) - 1
    read, failed = bus.log.read, list[str]()

    async def away(aggregate: Aggregate, *args: object, **more: object):
        if aggregate.id == source.id and not failed:
            failed.append(aggregate.id)
            raise TimedOut("the log is away")
        return await read(aggregate, *args, **more)  # pyright: ignore[reportArgumentType] - as they came

    monkeypatch.setattr(bus.log, "read", away)
    events = await events_until(bus, await forked(bus, source, agent, last, live=True))
    assert failed
    assert kinds(events)[-1] == "completed"
    assert (len(services.tools.calls), len(services.router.requests)) == (1, 2)


async def written(bus: Bus, run: Aggregate, bodies: list[Envelope]) -> None:
    """Appends these to the run, as a worker did that was killed then."""
    tail = await bus.log.tail(run)
    assert tail is not None
    data, head = list[bytes](), tail.head
    for body in bodies:
        envelope = Envelope(aggregate_type=run.type, aggregate_id=run.id, namespace=run.namespace, run=body.run)
        sealed, head = seal(envelope, ChainHead(*head))
        data.append(sealed)
    await bus.log.append(run.log, run, build_commit(data), tail.position)
