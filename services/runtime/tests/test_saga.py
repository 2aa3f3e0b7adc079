"""The saga and its replay: given recorded outcomes, the same effects follow, from any prefix on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_BLOCK,
    Failure,
    Passage,
    ToolCall,
    ToolResult,
    Verdict,
)
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import (
    Answer,
    CallAgent,
    CallModel,
    CallTool,
    Pattern,
    PatternFunction,
    RunContext,
    SagaEffect,
    ToolOutcome,
)
from astromesh_runtime.patterns.react.v1 import react
from astromesh_runtime.recorded import Diverged, digester_of
from astromesh_runtime.replay import replay
from astromesh_runtime.saga import Completed, Failed

from .worlds import CALL, World, frame_outcome, says, scripted, succeeded


def test_react_calls_tools_until_the_model_answers() -> None:
    world = World(scripted(says("", CALL), succeeded("2"), says("it is 2"))).begin()
    ending = world.drive()
    assert isinstance(ending, Completed)
    assert ending.answer == "it is 2"
    assert [path for path, _ in world.effects] == ["1", "2.1", "3"]
    assert replay(world.log).identical


def test_react_stops_after_its_iterations_and_says_what_to_do() -> None:
    outcomes = [outcome for _ in range(4) for outcome in (says("", CALL), succeeded("2"))]
    ending = World(scripted(*outcomes)).begin().drive()
    assert isinstance(ending, Failed)
    assert ending.failure.error_class == "limit-exceeded"
    assert "max_iterations" in plain(ending.failure.message)


def test_a_failed_tool_is_told_to_the_model_and_a_failed_model_ends_the_run() -> None:
    refused = ev.ToolFailed(failure=Failure(error_class="invalid-input", message=text_content("b is missing")))
    gone = ev.ModelReplied(failure=Failure(error_class="unavailable", message=text_content("no provider answered")))
    world = World(scripted(says("", CALL), refused, gone)).begin()
    ending = world.drive()
    assert isinstance(ending, Failed)
    assert ending.failure.error_class == "unavailable"
    assert replay(world.log).identical


def test_checked_text_goes_on_and_is_what_is_remembered() -> None:
    frame = ev.RunStarted(checks_input=True, checks_output=True, remembers=True)
    world = World(scripted(says("fine")), frame, query="my secret").begin()
    ending = world.drive()
    assert isinstance(ending, Completed)
    assert ending.answer == "FINE"
    turn = next(item.run.memory_stored.turn for item in world.log if item.run.HasField("memory_stored"))
    assert [plain(message.content) for message in turn] == ["my [GONE]", "FINE"]


def test_a_refused_question_ends_the_run_before_any_model_call() -> None:
    blocked = ev.InputChecked(blocked=True, verdicts=[Verdict(rule="max_length", action=VERDICT_ACTION_BLOCK)])
    world = World(lambda effect: blocked, ev.RunStarted(checks_input=True)).begin()
    ending = world.drive()
    assert isinstance(ending, Failed)
    assert ending.failure.error_class == "policy-refused"
    assert world.effects == []


def test_sources_are_what_was_retrieved_best_first_and_once() -> None:
    found = [Passage(id="a", score=0.2), Passage(id="b", score=0.9), Passage(id="a", score=0.2)]
    retrieved = ev.ToolSucceeded(result=ToolResult(output=text_content("…"), passages=found))
    ending = World(scripted(says("", CALL), retrieved, says("so"))).begin().drive()
    assert isinstance(ending, Completed)
    assert [passage.id for passage in ending.sources] == ["b", "a"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def tool_call(number: int, text: str) -> ToolCall:
    return ToolCall(id=f"c{number}", name="add", arguments=text_content(text))


def asks(text: str, some: list[ToolCall]) -> ev.ModelReplied:
    return says(text, *some)


def model_failed(text: str) -> ev.ModelReplied:
    return ev.ModelReplied(failure=Failure(error_class="unavailable", message=text_content(text)))


def tool_failed(text: str) -> ev.ToolFailed:
    return ev.ToolFailed(failure=Failure(error_class="permanent", message=text_content(text)))


def framed(checks_input: bool, checks_output: bool, remembers: bool) -> ev.RunStarted:
    return ev.RunStarted(checks_input=checks_input, checks_output=checks_output, remembers=remembers)


calls = st.builds(tool_call, st.integers(0, 99), texts)
model_outcomes = (
    st.builds(says, texts)
    | st.builds(asks, texts, st.lists(calls, min_size=1, max_size=3))
    | st.builds(model_failed, texts)
)
tool_outcomes = st.builds(succeeded, texts) | st.builds(tool_failed, texts)
frames = st.builds(framed, st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=150)
@given(
    frames,
    st.lists(model_outcomes, min_size=4, max_size=4),
    st.lists(tool_outcomes, min_size=12, max_size=12),
    st.data(),
)
def test_recovery_after_any_prefix_leads_to_the_same_effects_and_the_same_end(
    frame: ev.RunStarted, models: list[ev.ModelReplied], tools: list[ToolOutcome], data: st.DataObject
) -> None:
    by_path = dict[str, Any]()

    def world_of(log: list[Envelope]) -> World:
        """The world answers by path, as a real one would after a crash in between."""

        def script(effect: SagaEffect | CallTool | CallAgent) -> Any:
            if isinstance(effect, CallModel):
                return by_path.setdefault(effect.path, models[int(effect.path) // 2])
            if isinstance(effect, CallTool):
                return by_path.setdefault(effect.path, tools[len(by_path) % len(tools)])
            return frame_outcome(effect)

        return World(script, frame, log=list(log))

    whole = world_of([]).begin()
    ending = whole.drive()
    cut = data.draw(st.integers(2, len(whole.log) - 1))
    recovered = world_of(whole.log[:cut])
    assert recovered.drive() == ending
    assert recovered.effects == whole.effects
    assert replay(whole.log).identical
    assert replay(whole.log[:cut]).identical


def impure_clock() -> Callable[[RunContext], Generator[Any, Any, Answer]]:
    readings = iter(range(100))

    def pattern(run: RunContext) -> Generator[Any, Any, Answer]:
        told = ToolCall(id="c", name="add", arguments=text_content(f'{{"now": {next(readings)}}}'))
        yield from run.tools([told])
        return Answer("done")

    return pattern


def another_order(run: RunContext) -> Generator[Any, Any, Answer]:
    reply = yield from run.model(run.transcript)
    yield from run.tools([*reversed(reply.tool_calls)])
    return Answer("done")


def one_call_less(run: RunContext) -> Generator[Any, Any, Answer]:
    reply = yield from run.model(run.transcript)
    yield from run.tools(reply.tool_calls[:1])
    return Answer("done")


def another_answer(run: RunContext) -> Generator[Any, Any, Answer]:
    answer = yield from react(run)
    return Answer(answer.text + "!")


def two_calls() -> World:
    other = ToolCall(id="c2", name="add", arguments=text_content('{"a": 2}'))
    world = World(scripted(says("", CALL, other), succeeded("1"), succeeded("2"), says("done"))).begin()
    world.drive()
    return world


@pytest.mark.parametrize("pattern", [another_order, one_call_less, another_answer])
def test_a_pattern_that_asks_for_something_else_is_caught(pattern: PatternFunction) -> None:
    difference = replay(two_calls().log, pattern).difference
    assert isinstance(difference, Diverged)
    assert difference.recorded != difference.replayed


def test_a_pattern_that_reads_a_clock_is_caught() -> None:
    pattern = impure_clock()
    world = World(scripted(succeeded("1"))).begin()
    world.drive(pattern)
    difference = replay(world.log, pattern).difference
    assert difference is not None
    assert difference.path == "1.1"


def test_a_changed_tool_list_is_caught() -> None:
    world = two_calls()
    world.log[1].run.started.tools_sha256 = b"other"
    assert replay(world.log).difference is not None


def test_an_unknown_pattern_version_is_named() -> None:
    world = two_calls()
    world.log[1].run.started.pattern_version = 99
    difference = replay(world.log).difference
    assert difference is not None
    assert "version 99" in difference.recorded


def test_a_pattern_that_goes_on_where_the_recorded_one_gave_up_is_caught() -> None:
    def stubborn(run: RunContext) -> Pattern[Answer]:
        run.max_iterations += 1
        return (yield from react(run))

    world = World(scripted(*[outcome for _ in range(4) for outcome in (says("", CALL), succeeded("2"))])).begin()
    assert isinstance(world.drive(), Failed)
    assert replay(world.log).identical
    assert not replay(world.log, stubborn).identical


def test_another_answer_behind_the_same_checked_one_is_caught() -> None:
    world = World(scripted(says("it is 2")), ev.RunStarted(checks_output=True)).begin()
    world.drive()
    digester = digester_of(world.log[0].run.requested)
    checked = next(event.run.output_checked for event in world.log if event.run.HasField("output_checked"))
    checked.checked_digest = digester.of_text("it is 2")
    assert replay(world.log).identical
    checked.checked_digest = digester.of_text("it is 3")
    difference = replay(world.log).difference
    assert difference is not None
    assert world.log[difference.index].run.HasField("output_checked")
