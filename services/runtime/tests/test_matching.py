"""An answer with a schema: taken where it matches, asked for once more where it does not, and a replay agrees."""

from __future__ import annotations

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Image
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import Answer, CallAgent, CallTool, CheckOutput, Pattern, RunContext, SagaEffect
from astromesh_runtime.replay import replay
from astromesh_runtime.saga import Completed, Failed

from .worlds import CALL, World, says, scripted, succeeded

SCHEMA = '{"type":"object","properties":{"sum":{"type":"integer"}},"required":["sum"],"additionalProperties":false}'
WITH_TOOLS = ev.RunStarted(output_schema_json=SCHEMA, tools_sha256=b"t" * 32)


def test_an_answer_that_matches_is_the_answer() -> None:
    world = World(scripted(says("", CALL), succeeded("2"), says('{"sum": 2}')), WITH_TOOLS).begin()
    ending = world.drive()
    assert isinstance(ending, Completed)
    assert ending.answer == '{"sum": 2}'
    assert [(call.offers_tools, call.output_schema_json) for call in world.asked] == [(True, SCHEMA)] * 2
    assert replay(world.log).identical


def test_a_miss_is_told_exactly_and_asked_again_without_tools() -> None:
    world = World(scripted(says('{"sum": "two"}'), says('{"sum": 2}')), WITH_TOOLS).begin()
    ending = world.drive()
    assert isinstance(ending, Completed)
    assert ending.answer == '{"sum": 2}'
    again = world.asked[-1]
    assert (again.path, again.offers_tools, again.output_schema_json) == ("2", False, SCHEMA)
    *_, answer, complaint = again.transcript.messages
    assert (answer.role, plain(answer.content)) == (ROLE_ASSISTANT, '{"sum": "two"}')
    assert complaint.role == ROLE_USER
    assert '- /sum: "two" does not satisfy type ["integer"]' in plain(complaint.content)
    assert replay(world.log).identical


def test_a_second_miss_ends_the_run_and_says_what_is_wrong() -> None:
    world = World(scripted(says("It is 2."), says("{}")), WITH_TOOLS).begin()
    ending = world.drive()
    assert isinstance(ending, Failed)
    assert ending.failure.error_class == "limit-exceeded"
    assert 'the property "sum" is missing' in plain(ending.failure.message)
    assert len(world.asked) == 2
    assert replay(world.log).identical


def test_an_answer_that_a_guardrail_broke_is_no_answer() -> None:
    frame = ev.RunStarted(output_schema_json=SCHEMA, checks_output=True)
    answers = scripted(says('{"sum": 2}'))

    def script(effect: SagaEffect | CallTool | CallAgent) -> object:
        return ev.OutputChecked(text=text_content("[GONE]")) if isinstance(effect, CheckOutput) else answers(effect)

    world = World(script, frame).begin()
    ending = world.drive()
    assert isinstance(ending, Failed)
    assert "as its guardrails left it" in plain(ending.failure.message)
    assert replay(world.log).identical


def test_what_a_pattern_made_up_itself_is_shown_to_the_model() -> None:
    def made_up(run: RunContext) -> Pattern[Answer]:
        yield from run.model(run.transcript)
        return Answer("made up")

    world = World(scripted(says('{"sum": 2}'), says('{"sum": 3}')), WITH_TOOLS).begin()
    ending = world.drive(made_up)
    assert isinstance(ending, Completed)
    assert [plain(message.content) for message in world.asked[-1].transcript.messages][-2] == "made up"


def test_another_schema_is_another_effect() -> None:
    shas = set[bytes]()
    for schema in ("", SCHEMA, '{"type":"object"}'):
        world = World(scripted(says('{"sum": 2}')), ev.RunStarted(output_schema_json=schema)).begin()
        world.drive()
        shas.add(world.effects[0][1])
    assert len(shas) == 3


def picture(data: str) -> Image:
    return Image(media_type="image/png", data=text_content(data))


def test_pictures_go_with_the_question_and_are_part_of_the_effect() -> None:
    shas = set[bytes]()
    for images in ((), (picture("aaaa"),), (picture("bbbb"),)):
        world = World(scripted(says("a cat")), images=images).begin()
        world.drive()
        assert tuple(world.asked[0].transcript.messages[-1].images) == images
        assert replay(world.log).identical
        shas.add(world.effects[0][1])
    assert len(shas) == 3


@pytest.mark.parametrize("changed", [SCHEMA.replace("integer", "number"), ""])
def test_a_replay_with_another_schema_differs(changed: str) -> None:
    world = World(scripted(says('{"sum": 2}')), ev.RunStarted(output_schema_json=SCHEMA)).begin()
    world.drive()
    world.log[1].run.started.output_schema_json = changed
    assert not replay(world.log).identical
