"""Runs on a real log: what is stored, in which order, and what a signal makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NoReturn

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Restart
from astromesh.v1.signal_pb2 import (
    RESOLVED_OUTCOME_FAILED,
    RESOLVED_OUTCOME_SUCCEEDED,
    CancelSignal,
    ClearSessionSignal,
    FeedbackSignal,
    ResolvedOutcome,
    ResolveSignal,
    Signal,
)
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Failure, Message, Passage, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate, session_aggregate
from astromesh_core.errors import TimedOut
from astromesh_core.events.chain import verify_chain
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import session_key
from astromesh_core.events.runs import STATUS_NAMES
from astromesh_core.service import Platform
from astromesh_core.untrusted import INSTRUCTION
from astromesh_runtime import engine
from astromesh_runtime.effects import Answer, AssembleContext, Pattern, RunContext
from astromesh_runtime.patterns.catalogue import PATTERNS
from astromesh_runtime.replay import replay
from astromesh_runtime.scope import RunScope
from astromesh_testing.admission import KEY, admit, ended, events_until, kinds, put_agent
from astromesh_testing.contracts.placement import until
from astromesh_testing.services import FakeServices, completion, one_tool, text

READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)
IDEMPOTENT = ToolSpec(name="put", effect=values.TOOL_EFFECT_KIND_IDEMPOTENT, timeout_ms=1000)


async def signal(bus: Bus, run: Aggregate, name: str, **body: object) -> None:
    await bus.signals.send("default", Signal(id=name, aggregate_id=run.id, principal="tester", **body))  # pyright: ignore[reportArgumentType]  # the body's oneof by name


async def test_a_one_tool_run_is_stored_step_by_step(bus: Bus, worker: Platform, services: FakeServices) -> None:
    services.tools.specs = (READ,)
    await put_agent(bus)
    run = await admit(bus)
    events = await events_until(bus, run)
    assert kinds(events) == [
        "requested",
        "started",
        "context_assembled",
        "model_call_begun",
        "model_replied",
        "tool_intended",
        "tool_succeeded",
        "model_call_begun",
        "model_replied",
        "completed",
    ]
    assert events[-1].envelope.run.completed.answer.text == "it is 2"
    assert events[-1].envelope.run.completed.usage.input_tokens == 20
    assert verify_chain([event.data for event in events]).ok
    assert replay([event.envelope for event in events]).identical


async def test_the_frame_checks_recalls_retrieves_renders_and_remembers(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.memory.messages = [Message(role=values.ROLE_USER, content=text_content("before"))]
    services.rag.passages = [
        Passage(id="p", source="guide.md", text=text_content("a fact"), score=0.9),
        Passage(id="far", source="other.md", text=text_content("of something else"), score=0.0),
        Passage(id="farther", source="other.md", text=text_content("of the contrary"), score=-0.1),
    ]
    await put_agent(
        bus,
        prompts={"system": "Hi {{ name }}. {{ knowledge }} {{ memory.conversation[0].content }}{{ missing.deep }}"},
        knowledge={"pipeline": "docs"},
        memory={"conversational": {"backend": "sqlite"}},
        guardrails={"input": [{"type": "max_length", "max_characters": 100}], "output": [{"type": "pii_detection"}]},
    )
    run = await admit(bus, "my secret", session="s", context=text_content('{"name": "Ann"}'))
    events = await events_until(bus, run)
    by_kind = {kind: event.envelope.run for kind, event in zip(kinds(events), events, strict=True)}
    assert plain(by_kind["input_checked"].input_checked.text) == "my [GONE]"
    context = by_kind["context_assembled"].context_assembled
    boundary = by_kind["started"].started.data_boundary
    known = f"[data {boundary} from knowledge]\n[guide.md]\na fact\n[end of data {boundary}]"
    assert plain(context.system_prompt) == f"Hi Ann. {known} before"
    assert [plain(message.content) for message in services.router.requests[0].messages] == [
        f"{plain(context.system_prompt)}\n\n{INSTRUCTION}",
        "before",
        "my [GONE]",
    ]
    assert [plain(message.content) for message in by_kind["memory_stored"].memory_stored.turn] == ["my [GONE]", "hello"]
    assert [passage.id for passage in by_kind["completed"].completed.sources] == ["p"]
    assert replay([event.envelope for event in events]).identical


async def test_tokens_are_told_with_their_attempt_and_never_before_begun_is_stored(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    go = asyncio.Event()

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        await go.wait()
        yield text("hel")
        yield CompleteResponse(restart=Restart(reason="fallback"))
        yield text("good ")
        yield text("day")
        yield completion("good day")

    services.router.parts = parts
    await put_agent(bus)
    run = await admit(bus)
    async with bus.deltas.subscribe("default", run.id) as deltas:
        go.set()
        heard = [await anext(deltas) for _ in range(3)]
    assert [(delta.attempt, delta.offset, delta.text) for delta in heard] == [
        (1, 0, "hel"),
        (2, 0, "good "),
        (2, 5, "day"),
    ]
    events = [event.envelope.run for event in await events_until(bus, run)]
    begun = [event.model_call_begun for event in events if event.HasField("model_call_begun")]
    assert [event.reason for event in begun] == ["", "fallback"]


async def test_an_answer_that_a_rule_may_block_is_told_when_it_is_checked(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails={"output": [{"type": "pii_detection", "action": "block"}]})
    run = await admit(bus)
    async with bus.deltas.subscribe("default", run.id) as deltas:
        assert (await ended(bus, run)).answer.text == "hello"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(deltas)


async def test_a_refused_question_fails_the_run_without_a_model_call(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails={"input": [{"type": "max_length", "max_characters": 100}]})
    run = await ended(bus, await admit(bus, "forbidden"))
    assert (STATUS_NAMES[run.status], run.failure.error_class) == ("failed", "policy-refused")
    assert services.router.requests == []


async def test_a_run_of_an_unknown_agent_fails_by_name(bus: Bus, worker: Platform) -> None:
    run = await ended(bus, await admit(bus, agent="nobody"))
    assert run.failure.error_class == "not-found"
    assert "nobody" in plain(run.failure.message)


async def test_a_definite_failure_of_a_tool_goes_to_the_model(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def refuses(request: ExecuteToolRequest) -> ExecuteToolResponse:
        return ExecuteToolResponse(failure=Failure(error_class="invalid-input", message=text_content("b is missing")))

    services.tools.specs, services.tools.execute = (WRITE,), refuses
    await put_agent(bus)
    run = await ended(bus, await admit(bus))
    assert STATUS_NAMES[run.status] == "completed"
    assert "b is missing" in run.answer.text


async def never_answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
    raise TimedOut("the connection broke")


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (RESOLVED_OUTCOME_SUCCEEDED, "it is paid"),
        (RESOLVED_OUTCOME_FAILED, 'it is {"error":"permanent","message":"paid"}'),
    ],
)
async def test_a_write_without_an_answer_waits_for_a_human_who_settles_it(
    bus: Bus, worker: Platform, services: FakeServices, outcome: ResolvedOutcome.ValueType, answer: str
) -> None:
    services.tools.specs, services.tools.execute = (WRITE,), never_answers
    await put_agent(bus)
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert kinds(waiting)[-2:] == ["tool_outcome_unknown", "suspended"]
    resolve = ResolveSignal(path="2.1", outcome=outcome, result=text_content("paid"))
    await signal(bus, run, "wrong", resolve=ResolveSignal(path="9.9", outcome=outcome))
    await signal(bus, run, "right", resolve=resolve)
    events = await events_until(bus, run)
    assert events[-1].envelope.run.completed.answer.text == answer
    assert len(services.tools.calls) == 1
    assert "resumed" in kinds(events)
    assert replay([event.envelope for event in events]).identical


async def test_an_idempotent_tool_is_called_again_with_its_key(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def second_time(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if len(services.tools.calls) == 1:
            raise TimedOut("the connection broke")
        return ExecuteToolResponse(result=values.ToolResult(output=text_content("done")))

    services.tools.specs, services.tools.execute = (IDEMPOTENT,), second_time
    await put_agent(bus)
    run = await admit(bus)
    assert (await ended(bus, run)).answer.text == "it is done"
    assert {call.idempotency_key for call in services.tools.calls} == {f"{run.id}:2.1"}
    assert len(services.tools.calls) == 2


async def test_a_cancelled_run_stops_its_model_call_and_keeps_the_text_seen(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        yield text("so f")
        yield text("ar")
        await asyncio.Event().wait()

    services.router.parts = endless
    await put_agent(bus)
    run = await admit(bus)
    async with bus.deltas.subscribe("default", run.id) as deltas:
        if not services.router.requests:
            await anext(deltas)
            await anext(deltas)
    await asyncio.sleep(0.1)
    await signal(bus, run, "stop", cancel=CancelSignal(reason="enough"))
    events = await events_until(bus, run)
    cancelled = events[-1].envelope.run.cancelled
    assert (cancelled.principal, cancelled.reason, cancelled.partial_answer.text) == ("tester", "enough", "so far")
    assert services.router.left == 1
    assert replay([event.envelope for event in events]).identical


async def test_a_write_cut_by_a_cancel_is_noted_as_unknown(bus: Bus, worker: Platform, services: FakeServices) -> None:
    began = asyncio.Event()

    async def hangs(request: ExecuteToolRequest) -> ExecuteToolResponse:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    services.tools.specs, services.tools.execute = (WRITE,), hangs
    await put_agent(bus)
    run = await admit(bus)
    await began.wait()
    await signal(bus, run, "stop", cancel=CancelSignal())
    assert kinds(await events_until(bus, run))[-2:] == ["tool_outcome_unknown", "cancelled"]


async def test_a_sessions_runs_go_one_by_one_in_order_and_a_queued_one_can_be_cancelled(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    go, at_work = asyncio.Event(), list[str]()

    async def waits(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        at_work.append(request.run_id)
        await go.wait()
        yield completion("done")

    services.router.parts = waits
    await put_agent(bus)
    first, second, third = [await admit(bus, session="s") for _ in range(3)]
    other = await admit(bus, session="t")
    await until(lambda: len(at_work) == 2, 5)
    assert set(at_work) == {first.id, other.id}
    await signal(bus, second, "no", cancel=CancelSignal())
    assert STATUS_NAMES[(await ended(bus, second)).status] == "cancelled"
    go.set()
    for run in (first, third, other):
        assert STATUS_NAMES[(await ended(bus, run)).status] == "completed"
    assert at_work.index(first.id) < at_work.index(third.id)
    assert second.id not in at_work


async def test_a_run_past_its_time_fails_and_says_so(bus: Bus, worker: Platform, services: FakeServices) -> None:
    async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        await asyncio.Event().wait()
        yield completion("never")

    services.router.parts = endless
    await put_agent(bus, orchestration={"timeout_seconds": 0.3})
    events = await events_until(bus, await admit(bus))
    assert kinds(events)[-2:] == ["timed_out", "failed"]
    assert events[-1].envelope.run.failed.failure.error_class == "timed-out"
    assert services.router.left == 1
    assert replay([event.envelope for event in events]).identical


async def test_a_cleared_session_is_an_event_in_line_with_its_runs(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus)
    key = session_key(KEY, "default", "agent", "s")
    await ended(bus, await admit(bus, session="s"))
    clear = Signal(id="clear-1", aggregate_id=key, clear_session=ClearSessionSignal(agent="agent"))
    await bus.signals.send("default", clear)
    session = session_aggregate("default", key)
    async with asyncio.timeout(5), aclosing(bus.log.follow(session)) as events:
        stored = await anext(events)
    assert stored.envelope.session.HasField("cleared")
    assert stored.envelope.signal_id == "clear-1"


async def test_feedback_is_an_event_of_the_session_once_for_each_signal(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus)
    key = session_key(KEY, "default", "agent", "s")
    run = await admit(bus, session="s")
    await ended(bus, run)
    session = session_aggregate("default", key)
    for _ in range(2):
        said = FeedbackSignal(agent="agent", run_id=run.id, rating=-1, comment=text_content("wrong"))
        await bus.signals.send("default", Signal(id="f-1", aggregate_id=key, principal="ada", feedback=said))
    async with asyncio.timeout(5), aclosing(bus.log.follow(session)) as events:
        await anext(events)
    stored = (await bus.log.read(session)).events
    feedback = [event.envelope.session.feedback for event in stored]
    assert [(said.run_id, said.rating, said.principal, plain(said.comment)) for said in feedback] == [
        (run.id, -1, "ada", "wrong")
    ]


async def test_a_large_question_and_a_large_answer_are_kept_by_hash(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def large(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        async for part in one_tool(request):
            if part.HasField("completion"):
                yield completion("x" * 600_000)

    services.router.parts = large
    await put_agent(bus)
    run = await admit(bus)
    events = await events_until(bus, run)
    answer = events[-1].envelope.run.completed.answer
    assert answer.HasField("stored")
    assert len(plain(await bus.values.resolve(answer))) == 600_000


async def test_a_version_that_cannot_be_read_fails_its_run_and_the_session_goes_on(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, tools=[{"type": "nothing that this release knows"}])
    run = await ended(bus, await admit(bus, session="s"))
    assert run.failure.error_class == "not-supported"
    await put_agent(bus)
    assert STATUS_NAMES[(await ended(bus, await admit(bus, session="s"))).status] == "completed"


async def test_a_bug_of_a_pattern_ends_its_run_by_name_and_replays_identically(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(run: RunContext) -> Pattern[Answer]:
        yield from run.model(run.transcript)
        raise ZeroDivisionError("what the user asked")

    await put_agent(bus)
    with monkeypatch.context() as planting:
        planting.setitem(PATTERNS, ("react", 1), planted)
        events = await events_until(bus, await admit(bus, session="s"))
        assert replay([event.envelope for event in events]).identical
    failed = events[-1].envelope.run.failed
    assert (failed.failure.error_class, failed.imposed, failed.usage.input_tokens) == ("bug", False, 10)
    assert plain(failed.failure.message) == "the pattern react version 1 raised ZeroDivisionError"
    assert not replay([event.envelope for event in events]).identical
    assert STATUS_NAMES[(await ended(bus, await admit(bus, session="s"))).status] == "completed"


async def test_a_bug_of_the_runtime_ends_the_run_as_one_and_the_session_goes_on(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(scope: RunScope, effect: AssembleContext) -> NoReturn:
        raise ZeroDivisionError

    await put_agent(bus)
    with monkeypatch.context() as planting:
        planting.setattr(engine, "assemble_context", breaks)
        events = await events_until(bus, await admit(bus, session="s"))
    failed = events[-1].envelope.run.failed
    assert (failed.failure.error_class, failed.imposed) == ("bug", True)
    assert "ZeroDivisionError" in plain(failed.failure.message)
    assert replay([event.envelope for event in events]).identical
    assert STATUS_NAMES[(await ended(bus, await admit(bus, session="s"))).status] == "completed"
