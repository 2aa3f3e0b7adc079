"""What a run is told of its session, what it leaves there, and what becomes of it while memory is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import values_pb2 as values
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.memory_pb2 import RecallResponse
from astromesh.v1.signal_pb2 import EraseUserSignal, ExpireSessionSignal, Signal
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Failure, Message, ToolCall, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import session_key
from astromesh_core.events.runs import fold
from astromesh_core.service import Platform
from astromesh_runtime import context as context_module
from astromesh_runtime.effects import AssembleContext, CallAgent, CallModel, CallTool, SagaEffect
from astromesh_runtime.replay import replay
from astromesh_runtime.saga import Completed
from astromesh_runtime.turns import LONGEST_RESULT, turn_of, without_calls
from astromesh_testing.admission import KEY, admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices

from .worlds import CALL, World, says, scripted, succeeded

READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)


def said(role: values.Role.ValueType, text: str, **more: Any) -> Message:
    return Message(role=role, content=text_content(text), **more)


def with_context(context: ev.ContextAssembled, *outcomes: Any) -> Callable[[SagaEffect | CallTool | CallAgent], Any]:
    """A script in which the context is this one."""
    rest = scripted(*outcomes)
    return lambda effect: context if isinstance(effect, AssembleContext) else rest(effect)


def context_to_fold() -> ev.ContextAssembled:
    return ev.ContextAssembled(
        system_prompt=text_content("be kind"),
        summary=text_content("they met"),
        history=[said(ROLE_USER, "third"), said(ROLE_ASSISTANT, "c")],
        to_fold=ev.RecalledTurns(
            messages=[said(ROLE_USER, "first"), said(ROLE_ASSISTANT, "a")], through_run_id="07-first"
        ),
    )


def texts(call: CallModel) -> list[str]:
    return [plain(message.content) for message in call.transcript.messages]


def test_turns_beyond_the_window_are_folded_by_one_call_that_nobody_hears() -> None:
    frame = ev.RunStarted(remembers=True)
    world = World(with_context(context_to_fold(), says("they met and agreed"), says("fine")), frame).begin()
    ending = world.drive()
    assert isinstance(ending, Completed)
    fold_call, answer_call = world.asked
    assert (fold_call.path, fold_call.is_heard, fold_call.offers_tools) == ("0", False, False)
    assert "they met" in texts(fold_call)[1]
    assert "user: first\nassistant: a" in texts(fold_call)[1]
    prompt, *history = texts(answer_call)
    assert prompt.startswith("be kind")
    assert prompt.endswith("they met and agreed")
    assert history == ["third", "c", "what is it?"]
    stored = [event.run.memory_stored for event in world.log if event.run.HasField("memory_stored")]
    assert plain(stored[0].summary.text) == "they met and agreed"
    assert stored[0].summary.through_run_id == "07-first"
    assert [plain(message.content) for message in stored[1].turn] == ["what is it?", "fine"]
    assert replay(world.log).identical


def test_a_summary_that_no_model_makes_loses_neither_the_turns_nor_the_run() -> None:
    gone = ev.ModelReplied(failure=Failure(error_class="unavailable", message=text_content("away")))
    world = World(with_context(context_to_fold(), gone, says("fine")), ev.RunStarted(remembers=True)).begin()
    assert isinstance(world.drive(), Completed)
    prompt, *history = texts(world.asked[1])
    assert prompt.endswith("they met")
    assert history == ["first", "a", "third", "c", "what is it?"]
    stored = [event.run.memory_stored for event in world.log if event.run.HasField("memory_stored")]
    assert [item.HasField("summary") for item in stored] == [False]
    assert replay(world.log).identical


@pytest.mark.parametrize("events", range(2, 9))
def test_a_run_that_folds_goes_on_from_wherever_a_crash_cut_it(events: int) -> None:
    frame = ev.RunStarted(remembers=True)
    whole = World(with_context(context_to_fold(), says("sum"), says("fine")), frame).begin()
    whole.drive()
    left = [event.run for event in whole.log[events:] if event.run.HasField("model_replied")]
    script = with_context(context_to_fold(), *(event.model_replied for event in left))
    cut = World(script, frame, log=list(whole.log[:events]))
    assert isinstance(cut.drive(), Completed)
    assert [kind_of(event) for event in cut.log if kind_of(event) != "model_call_begun"] == [
        kind_of(event) for event in whole.log if kind_of(event) != "model_call_begun"
    ]


def kind_of(event: Any) -> str:
    return event.run.WhichOneof("event") or ""


def test_another_summary_than_the_recorded_one_is_a_difference() -> None:
    world = World(with_context(context_to_fold(), says("sum"), says("fine")), ev.RunStarted(remembers=True)).begin()
    world.drive()
    at = next(at for at, event in enumerate(world.log) if event.run.HasField("memory_stored"))
    world.log[at].run.memory_stored.summary.text.text = "something else"
    difference = replay(world.log).difference
    assert difference is not None
    assert difference.index == at


def slipped_in(log: Sequence[Envelope], stored: ev.MemoryStored) -> list[Envelope]:
    """The log with one event more before its last."""
    made_up, last = Envelope(index=log[-1].index, run=ev.RunEvent(memory_stored=stored)), Envelope()
    last.CopyFrom(log[-1])
    last.index += 1
    return [*log[:-1], made_up, last]


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        (ev.MemoryStored(summary=ev.ConversationSummary(text=text_content("all agreed"))), "a summary for the memory"),
        (ev.MemoryStored(turn=[said(ROLE_USER, "I never said this")]), "a turn for the memory"),
    ],
)
def test_what_memory_was_told_and_nobody_asked_for_is_a_difference(stored: ev.MemoryStored, what: str) -> None:
    world = World(scripted(says("fine")), ev.RunStarted()).begin()
    world.drive()
    assert replay(world.log).identical
    difference = replay(slipped_in(world.log, stored)).difference
    assert difference is not None
    assert (difference.index, difference.recorded) == (world.log[-1].index, what)


def test_calls_are_remembered_with_their_results() -> None:
    frame = ev.RunStarted(remembers=True, remembers_tools=True)
    world = World(scripted(says("let me see", CALL), succeeded("2"), says("it is 2")), frame).begin()
    world.drive()
    turn = world.log[-2].run.memory_stored.turn
    assert [message.role for message in turn] == [ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_ASSISTANT]
    assert turn[1].tool_calls[0] == CALL
    assert (turn[2].tool_call_id, turn[2].name, plain(turn[2].content)) == ("c1", "add", "2")
    assert replay(world.log).identical


def test_runs_of_earlier_releases_leave_question_and_answer_alone() -> None:
    world = World(scripted(says("", CALL), succeeded("2"), says("it is 2")), ev.RunStarted(remembers=True)).begin()
    world.drive()
    turn = world.log[-2].run.memory_stored.turn
    assert [plain(message.content) for message in turn] == ["what is it?", "it is 2"]
    assert replay(world.log).identical


def test_no_result_is_remembered_without_its_call_nor_the_reverse() -> None:
    calls = [ToolCall(id="a", name="x"), ToolCall(id="lost", name="y")]
    told = [
        said(ROLE_ASSISTANT, "", tool_calls=calls),
        said(ROLE_TOOL, "r" * (LONGEST_RESULT + 1), tool_call_id="a", name="x"),
        said(ROLE_TOOL, "of another", tool_call_id="never-asked", name="z"),
        said(ROLE_ASSISTANT, "", tool_calls=[ToolCall(id="alone", name="y")]),
        said(ROLE_ASSISTANT, "the answer"),
    ]
    turn = turn_of("q", told, "the answer")
    assert [call.id for message in turn for call in message.tool_calls] == ["a"]
    assert [message.tool_call_id for message in turn if message.role == ROLE_TOOL] == ["a"]
    assert plain(turn[2].content).endswith("(cut)")
    assert [plain(message.content) for message in without_calls(turn)] == ["q", "the answer"]


async def test_a_sessions_summary_is_made_recorded_and_never_told_to_the_caller(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.memory.recalled = RecallResponse(
        messages=[said(ROLE_USER, "before")],
        to_fold=ev.RecalledTurns(messages=[said(ROLE_USER, "long ago")], through_run_id="07-first"),
        tokens=7,
        tokens_estimated=True,
    )
    await put_agent(bus, memory={"conversational": {"strategy": "summary"}})
    run = await admit(bus, session="s")
    events = await events_until(bus, run)
    assert kinds(events)[2:6] == ["context_assembled", "model_call_begun", "model_replied", "memory_stored"]
    begun = events[3].envelope.run.model_call_begun
    assert begun.path == "0"
    assert begun.prompt_tokens > 0
    stored = events[5].envelope.run.memory_stored
    assert (stored.agent, plain(stored.summary.text)) == ("agent", "hello")
    context = events[2].envelope.run.context_assembled
    assert (context.history_tokens, context.history_tokens_estimated) == (7, True)
    assert fold(event.envelope for event in events).usage.input_tokens == 20
    assert replay([event.envelope for event in events]).identical


async def test_a_turn_names_its_session_and_its_person_by_a_keyed_hash(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.tools.specs = (READ,)
    await put_agent(bus, memory={"conversational": {}})
    run = await admit(bus, session="s", user=text_content("ada"), user_key="k" * 26)
    events = await events_until(bus, run)
    stored = next(event.envelope.run.memory_stored for event in events if event.envelope.run.HasField("memory_stored"))
    assert (plain(stored.session_id), stored.user_key) == ("s", "k" * 26)
    assert [message.role for message in stored.turn] == [ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_ASSISTANT]


async def test_a_run_goes_on_without_its_session_where_its_agent_says_so_and_tells(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.memory.gone = Unavailable("redis at redis://cache:6379/0: gone")
    await put_agent(bus, memory={"conversational": {"backend": "redis", "on_unavailable": "continue"}})
    run = await admit(bus, session="s")
    events = await events_until(bus, run)
    assert kinds(events)[-1] == "completed"
    assert events[2].envelope.run.context_assembled.memory_unavailable == "redis at redis://cache:6379/0: gone"
    (warning,) = fold(event.envelope for event in events).warnings
    assert "redis://cache:6379/0" in warning
    assert "memory_stored" in kinds(events)


async def test_a_run_fails_clearly_without_its_session_by_default(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def once(call: Callable[[], Awaitable[RecallResponse]]) -> RecallResponse:
        return await call()

    monkeypatch.setattr(context_module, "patiently", once)
    services.memory.gone = Unavailable("redis at redis://cache:6379/0: gone")
    await put_agent(bus, memory={"conversational": {"backend": "redis"}})
    events = await events_until(bus, await admit(bus, session="s"))
    failed = events[-1].envelope.run.failed
    assert failed.failure.error_class == "unavailable"
    assert plain(failed.failure.message) == "redis at redis://cache:6379/0: gone"


async def test_expiry_and_erasure_are_events_of_the_session(bus: Bus, worker: Platform, services: FakeServices) -> None:
    await put_agent(bus)
    key = session_key(KEY, "default", "agent", "s")
    session = session_aggregate("default", key)
    expire = ExpireSessionSignal(agent="agent", until_unix_nano=7)
    await bus.signals.send("default", Signal(id="e-1", aggregate_id=key, expire_session=expire))
    erase = EraseUserSignal(agent="agent", user_key="k" * 26)
    await bus.signals.send("default", Signal(id="e-2", aggregate_id=key, principal="ada", erase_user=erase))
    async with asyncio.timeout(10), aclosing(bus.log.follow(session)) as events:
        expired, erased = [(await anext(events)).envelope for _ in range(2)]
    assert (expired.signal_id, expired.session.expired.until_unix_nano) == ("e-1", 7)
    told = erased.session.erased
    assert (erased.signal_id, told.agent, told.user_key, told.principal) == ("e-2", "agent", "k" * 26, "ada")
