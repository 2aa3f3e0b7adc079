"""What each pattern asks for and comes to, given outcomes: and the same from any prefix of its log on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Failure, ToolCall, ToolSpec
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.orchestration import Orchestration
from astromesh_runtime.effects import CallAgent, CallModel, CallTool, SagaEffect
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.patterns.parallel_fan_out.v1 import elected
from astromesh_runtime.replay import replay
from astromesh_runtime.saga import Completed, Ending, Failed

from .worlds import World, frame_outcome, says, succeeded

Answers = Callable[[str, str], Any]
"""What a model answers, by its role and its last message."""


def frame(pattern: str, **options: Any) -> ev.RunStarted:
    spec = Orchestration(pattern=pattern, **options)  # pyright: ignore[reportArgumentType]  # names of patterns
    tools = [ToolSpec(name="helper", type="agent", agent="helper")] if pattern == "supervisor" else []
    return ev.RunStarted(
        pattern=pattern, pattern_version=1, max_iterations=4, pattern_options_json=spec.options_json, tools=tools
    )


def failing(reason: str) -> ev.ModelReplied:
    return ev.ModelReplied(failure=Failure(error_class="unavailable", message=text_content(reason)))


def finished(text: str) -> ev.ChildFinished:
    return ev.ChildFinished(answer=text_content(text))


def world(started: ev.RunStarted, answers: Answers, query: str = "what is it?") -> World:
    def script(effect: SagaEffect | CallTool | CallAgent) -> Any:
        if isinstance(effect, CallModel):
            reply = answers(effect.role, plain(effect.transcript.messages[-1].content))
            return says(reply) if isinstance(reply, str) else reply
        if isinstance(effect, CallAgent):
            return finished(f"{effect.agent} on {effect.query.splitlines()[0]}")
        return succeeded("2") if isinstance(effect, CallTool) else frame_outcome(effect)

    return World(script, started, query=query).begin()


def driven(run: World) -> Ending:
    pattern = pattern_function(run.frame.pattern, 1)
    assert pattern is not None
    ending = run.drive(pattern)
    assert replay(run.log).identical, replay(run.log).difference
    return ending


def answer_of(run: World) -> str:
    ending = driven(run)
    assert isinstance(ending, Completed), ending
    return ending.answer


def plan(*steps: tuple[str, str, list[str]]) -> str:
    return orjson.dumps({"steps": [{"id": id, "task": task, "needs": needs} for id, task, needs in steps]}).decode()


def test_a_pipeline_hands_each_stages_result_to_the_next_one() -> None:
    stages = [{"name": "draft", "prompt": "Draft it."}, {"name": "check", "agent": "checker"}, {"name": "tidy"}]
    run = world(frame("pipeline", stages=stages), lambda role, told: f"<{told.splitlines()[-1]}>")
    assert answer_of(run) == "<checker on what is it?>"
    assert [call.path for call in run.asked] == ["1.1", "3.1"]
    assert [call.is_heard for call in run.asked] == [False, True]
    assert plain(run.asked[0].transcript.messages[0].content) == "be kind\n\nDraft it."


def test_steps_of_a_plan_are_done_at_once_where_they_do_not_need_each_other() -> None:
    def answers(role: str, told: str) -> str:
        if role == "planner":
            return plan(("a", "find A", []), ("b", "find B", []), ("c", "join", ["a", "b"]))
        if role == "executor":
            return told.split("Your step: ")[1].split("\n")[0]
        return f"so: {told.count('[')} results"

    run = world(frame("plan_and_execute"), answers)
    assert answer_of(run) == "so: 3 results"
    assert [(call.role, call.path) for call in run.asked] == [
        ("planner", "1.1"),
        ("executor", "2.1.1"),
        ("executor", "2.2.1"),
        ("executor", "3.1.1"),
        ("synthesizer", "4.1"),
    ]
    joined = plain(run.asked[3].transcript.messages[-1].content)
    assert "[a]\nfind A" in joined
    assert "[b]\nfind B" in joined


def test_a_plan_is_made_anew_where_a_step_fails_and_given_up_after_the_last_one() -> None:
    def answers(role: str, told: str) -> Any:
        if role == "planner":
            return plan(("x", "go around", [])) if "failed" in told else plan(("1", "easy", []), ("2", "hard", ["1"]))
        if role == "executor":
            return failing("no way") if "Your step: hard" in told else "done"
        return told

    run = world(frame("plan_and_execute"), answers)
    assert "[1]\ndone\n\n[x]\ndone" in answer_of(run)
    stuck = driven(
        world(
            frame("plan_and_execute", max_replans=1),
            lambda role, told: plan((str(len(told)), "t", [])) if role == "planner" else failing("no"),
        )
    )
    assert isinstance(stuck, Failed)
    assert "steps of the last plan failed" in plain(stuck.failure.message)


@pytest.mark.parametrize(
    ("given_plan", "told"),
    [
        ("nonsense", "it is no JSON"),
        (plan(("a", "x", ["b"]), ("b", "y", ["a"])), "need each other"),
        (plan(("a", "x", ["z"])), "needs 'z', which is no step"),
        (plan(("a", "x", []), ("a", "y", [])), "the id 'a' is given twice"),
        (plan(*[(str(n), "x", list[str]()) for n in range(9)]), "maxItems 8"),
    ],
)
def test_a_plan_that_cannot_be_done_is_told_to_the_planner_once(given_plan: str, told: str) -> None:
    run = world(frame("plan_and_execute"), lambda role, _: given_plan)
    ending = driven(run)
    assert isinstance(ending, Failed)
    assert told in plain(ending.failure.message)
    assert len(run.asked) == 2
    assert told in plain(run.asked[1].transcript.messages[-1].content)


def branches(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "prompt": name} for name in names]


def by_branch(replies: dict[str, Any]) -> Answers:
    left = iter(replies.values())
    return lambda role, told: next(left)


def test_a_fan_out_votes_judges_or_joins() -> None:
    votes = by_branch({"a": "Paris.", "b": "Rome", "c": "paris"})
    assert answer_of(world(frame("parallel_fan_out", branches=branches("a", "b", "c"), join="vote"), votes)) == "Paris."
    judged = by_branch({"a": "one", "b": "two", "judge": '{"reason": "clearer", "best": "b"}'})
    run = world(frame("parallel_fan_out", branches=branches("a", "b"), join="best_of"), judged)
    assert answer_of(run) == "two"
    assert [call.path for call in run.asked] == ["1.1.1", "1.2.1", "2.1"]
    joined = world(frame("parallel_fan_out"), lambda role, told: "all" if role == "synthesizer" else "each")
    assert answer_of(joined) == "all"
    assert "[first]\neach\n\n[second]\neach" in plain(joined.asked[-1].transcript.messages[-1].content)


def test_a_fan_out_needs_its_quorum() -> None:
    answers = by_branch({"a": failing("late"), "b": "two", "c": failing("late"), "s": "so"})
    ending = driven(world(frame("parallel_fan_out", branches=branches("a", "b", "c")), answers))
    assert isinstance(ending, Failed)
    assert "1 of 3 branches answered, 2 are needed: a: late; c: late" in plain(ending.failure.message)
    answers = by_branch({"a": failing("late"), "b": "two", "c": failing("late"), "s": "so"})
    assert answer_of(world(frame("parallel_fan_out", branches=branches("a", "b", "c"), quorum=1), answers)) == "so"


def test_of_equal_votes_the_first_branch_wins() -> None:
    assert elected([("a", "x"), ("b", "y"), ("c", "Y."), ("d", "X")]) == "x"


def test_a_supervisor_asks_workers_looks_its_answer_over_and_asks_again() -> None:
    call = ToolCall(id="1", name="helper", arguments=text_content('{"query": "part one"}'))
    again = ToolCall(id="2", name="helper", arguments=text_content('{"query": "part two"}'))
    left = iter([says("", call), "half of it", says("", again), "all of it", "all of it"])
    run = world(frame("supervisor", max_reviews=2), lambda role, told: next(left))
    assert answer_of(run) == "all of it"
    agents = [event.run.child_finished for event in run.log if event.run.HasField("child_finished")]
    assert [plain(agent.answer) for agent in agents] == ["helper on part one", "helper on part two"]
    assert [call.is_heard for call in run.asked] == [True, False, False, False, True]
    assert "who are the tools helper" in plain(run.asked[0].transcript.messages[0].content)


def test_a_supervisor_that_asks_nobody_answers_at_once() -> None:
    run = world(frame("supervisor"), lambda role, told: "hello")
    assert answer_of(run) == "hello"
    assert len(run.asked) == 1


def handed(agent: str, reason: str = "") -> ev.ChildFinished:
    return ev.ChildFinished(answer=text_content(reason), handed_to=agent)


def swarm_of(*outcomes: ev.ChildFinished, **options: Any) -> World:
    left = iter(outcomes)
    asked = list[CallAgent]()

    def script(effect: SagaEffect | CallTool | CallAgent) -> Any:
        if isinstance(effect, CallAgent):
            asked.append(effect)
            return next(left)
        return frame_outcome(effect)

    agents = [{"agent": "front", "description": "greets"}, {"agent": "bills"}, {"agent": "tech"}]
    run = World(script, frame("swarm", agents=agents, **options)).begin()
    run.children = asked
    return run


def test_a_swarm_goes_on_with_whomever_the_conversation_is_handed_to() -> None:
    run = swarm_of(handed("bills", "money"), handed("tech"), finished("fixed"))
    assert answer_of(run) == "fixed"
    assert [effect.agent for effect in run.children] == ["front", "bills", "tech"]
    assert "(front handed this to you: money)" in run.children[1].query
    assert [[other.agent for other in effect.handoffs] for effect in run.children] == [
        ["bills", "tech"],
        ["front", "tech"],
        ["front", "bills"],
    ]


def test_a_swarm_is_not_handed_round_for_ever() -> None:
    to_and_fro = swarm_of(handed("bills"), handed("front"), finished("enough"), max_handoffs=9)
    assert answer_of(to_and_fro) == "enough"
    assert [other.agent for other in to_and_fro.children[2].handoffs] == ["tech"], "no way is gone twice"
    limited = swarm_of(handed("bills"), finished("mine"), max_handoffs=1)
    assert answer_of(limited) == "mine"
    assert limited.children[1].handoffs == ()


def test_a_run_ends_by_handing_over_and_is_told_of_a_wrong_name() -> None:
    def hand(agent: str) -> ev.ModelReplied:
        arguments = text_content(f'{{"agent": "{agent}", "reason": "money"}}')
        return says("", ToolCall(id="h", name="hand_off", arguments=arguments))

    left = iter([hand("nobody"), hand("bills")])
    lineage = ev.Lineage(handoffs=[ev.Handoff(agent="bills")])
    run = World(
        lambda effect: next(left) if isinstance(effect, CallModel) else frame_outcome(effect),
        ev.RunStarted(pattern="react"),
        lineage=lineage,
    )
    ending = driven(run.begin())
    assert isinstance(ending, Completed)
    assert (ending.handed_to, ending.answer) == ("bills", "money")
    assert "agent must be one of bills" in plain(run.asked[1].transcript.messages[-1].content)


SHAPES = {
    "pipeline": frame("pipeline", stages=["one", {"name": "two", "agent": "helper"}, "three"]),
    "plan_and_execute": frame("plan_and_execute", max_replans=1),
    "parallel_fan_out": frame(
        "parallel_fan_out", branches=[*branches("a", "b"), {"name": "c", "agent": "helper"}], quorum=1
    ),
    "supervisor": frame("supervisor"),
    "swarm": frame("swarm", agents=["one", "two"]),
}
replies = st.one_of(
    st.builds(says, st.text(max_size=5)),
    st.builds(failing, st.just("gone")),
    st.just(says(plan(("a", "x", []), ("b", "y", []), ("c", "z", ["a"])))),
    st.just(says("", ToolCall(id="c", name="helper", arguments=text_content('{"query": "q"}')))),
)


@pytest.mark.parametrize("pattern", SHAPES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_recovery_after_any_prefix_leads_to_the_same_effects_and_the_same_end(
    pattern: str, data: st.DataObject
) -> None:
    by_path = dict[str, Any]()

    def world_of(log: list[Envelope]) -> World:
        def script(effect: SagaEffect | CallTool | CallAgent) -> Any:
            if isinstance(effect, CallModel):
                if effect.path not in by_path:
                    by_path[effect.path] = data.draw(replies)
                return by_path[effect.path]
            if isinstance(effect, CallAgent):
                return by_path.setdefault(effect.path, finished("from an agent"))
            return succeeded("2") if isinstance(effect, CallTool) else frame_outcome(effect)

        return World(script, SHAPES[pattern], log=list(log))

    whole = world_of([]).begin()
    function = pattern_function(pattern, 1)
    assert function is not None
    ending = whole.drive(function)
    cut = data.draw(st.integers(2, len(whole.log) - 1))
    recovered = world_of(whole.log[:cut])
    assert recovered.drive(function) == ending
    assert recovered.effects == whole.effects
    assert replay(whole.log).identical, replay(whole.log).difference
    assert replay(whole.log[:cut]).identical
