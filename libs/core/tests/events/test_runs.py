"""Folding: a status is a function of the log."""

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runs_pb2 import STEP_STATUS_FAILED, STEP_STATUS_SUCCEEDED, RunStatus
from astromesh.v1.values_pb2 import Charge, Failure, Message, Timing, ToolCall, ToolResult, Usage
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL, RunFolder, fold

REQUESTED = ev.RunEvent(requested=ev.RunRequested(agent="a", query=text_content("hello")))
STARTED = ev.RunEvent(started=ev.RunStarted(worker="w"))
BEGUN = ev.RunEvent(model_call_begun=ev.ModelCallBegun(path="1", role="default"))
REPLIED = ev.RunEvent(
    model_replied=ev.ModelReplied(
        path="1",
        message=Message(content=text_content("hi")),
        charge=Charge(model="m", usage=Usage(input_tokens=3, output_tokens=2), cost_nanos=7),
    )
)
INTENDED = ev.RunEvent(tool_intended=ev.ToolIntended(path="2.1", call=ToolCall(id="c", name="add")))
FINISHED = [("1", "tool_calls"), ("3", "length")]
UNKNOWN = ev.RunEvent(tool_outcome_unknown=ev.ToolOutcomeUnknown(path="2.1", reason="crash"))


def suspended(reason: ev.SuspensionReason.ValueType) -> ev.RunEvent:
    return ev.RunEvent(suspended=ev.Suspended(reason=reason, path="2.1"))


def envelopes(*events: ev.RunEvent) -> list[Envelope]:
    return [
        Envelope(aggregate_id="00-x", namespace="ns", index=index, time_unix_nano=index + 1, run=event)
        for index, event in enumerate(events)
    ]


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([REQUESTED], "queued"),
        ([REQUESTED, STARTED], "running"),
        ([REQUESTED, STARTED, suspended(ev.SUSPENSION_REASON_CHILD)], "suspended"),
        ([REQUESTED, STARTED, UNKNOWN, suspended(ev.SUSPENSION_REASON_UNKNOWN)], "needs-human"),
        ([REQUESTED, suspended(ev.SUSPENSION_REASON_VERSION)], "needs-version"),
        ([REQUESTED, STARTED, suspended(ev.SUSPENSION_REASON_TIMER), ev.RunEvent(resumed=ev.Resumed())], "running"),
        ([REQUESTED, ev.RunEvent(completed=ev.RunCompleted(answer=text_content("x")))], "completed"),
        ([REQUESTED, ev.RunEvent(failed=ev.RunFailed(failure=Failure(error_class="bug")))], "failed"),
        ([REQUESTED, ev.RunEvent(compensated=ev.RunCompensated())], "compensated"),
        ([REQUESTED, ev.RunEvent(cancelled=ev.RunCancelled(partial_answer=text_content("so f")))], "cancelled"),
    ],
)
def test_the_status_follows_from_the_events(events: list[ev.RunEvent], status: str) -> None:
    assert STATUS_NAMES[fold(envelopes(*events)).status] == status


def test_every_status_has_a_name_and_the_ends_are_four() -> None:
    assert set(STATUS_NAMES) == set(RunStatus.values()) - {0}
    assert len(TERMINAL) == 4


def test_steps_and_the_bill_are_folded() -> None:
    done = ev.RunEvent(tool_succeeded=ev.ToolSucceeded(path="2.1", result=ToolResult(output=text_content("5"))))
    run = fold(envelopes(REQUESTED, STARTED, BEGUN, REPLIED, INTENDED, done))
    assert [(step.path, step.name) for step in run.steps] == [("1", "m"), ("2.1", "add")]
    assert run.steps[1].output.text == "5"
    assert (run.usage.input_tokens, run.usage.output_tokens, run.cost_nanos) == (3, 2, 7)
    assert [step.cost_nanos for step in run.steps] == [7, 0]
    assert run.events == 6


def test_why_the_last_model_reply_ended_is_the_runs_and_each_steps() -> None:
    replies = [ev.ModelReplied(path=path, message=Message(), finish_reason=why) for path, why in FINISHED]
    refused = ev.ModelReplied(path="4", failure=Failure(error_class="unavailable"))
    events = [ev.RunEvent(model_replied=reply) for reply in (*replies, refused)]
    run = fold(envelopes(REQUESTED, STARTED, *events))
    assert [(step.path, step.finish_reason) for step in run.steps] == [*FINISHED, ("4", "")]
    assert run.finish_reason == "length"


def test_applying_an_event_twice_changes_nothing() -> None:
    events = envelopes(REQUESTED, STARTED, BEGUN, REPLIED)
    folder = RunFolder()
    for envelope in [*events, *events]:
        folder.apply(envelope)
    assert folder.run == fold(events)


def test_folding_goes_on_from_a_stored_run() -> None:
    events = envelopes(REQUESTED, STARTED, BEGUN, REPLIED, INTENDED)
    folder = RunFolder(fold(events[:3]))
    for envelope in events[3:]:
        folder.apply(envelope)
    assert folder.run == fold(events)


def test_a_step_that_somebody_settled_shows_its_outcome_and_when_it_was_called() -> None:
    called = Timing(start_unix_nano=7, duration_nano=9)
    unknown = ev.RunEvent(tool_outcome_unknown=ev.ToolOutcomeUnknown(path="2.1", reason="crash", timing=called))
    settled = ev.ToolSucceeded(path="2.1", result=ToolResult(output=text_content("done")), resolved_by="ann")
    step = fold(envelopes(REQUESTED, STARTED, INTENDED, unknown, ev.RunEvent(tool_succeeded=settled))).steps[0]
    assert (step.status, step.output.text, step.timing) == (STEP_STATUS_SUCCEEDED, "done", called)
    assert not step.HasField("failure")


@pytest.mark.parametrize(("role", "name"), [("", "model"), ("default", "model"), ("planner", "planner")])
def test_a_model_step_has_its_roles_name_until_a_model_answered(role: str, name: str) -> None:
    begun = ev.RunEvent(model_call_begun=ev.ModelCallBegun(path="1", role=role))
    assert fold(envelopes(REQUESTED, STARTED, begun)).steps[0].name == name
    assert fold(envelopes(REQUESTED, STARTED, begun, REPLIED)).steps[0].name == "m"


def test_a_step_that_the_runs_failure_cut_off_does_not_run_for_ever() -> None:
    failed = ev.RunEvent(failed=ev.RunFailed(failure=Failure(error_class="timed-out")))
    step = fold(envelopes(REQUESTED, STARTED, BEGUN, failed)).steps[0]
    assert (step.status, step.failure.error_class) == (STEP_STATUS_FAILED, "timed-out")


def test_a_step_without_an_answer_says_so_and_one_that_a_cancel_cut_off_does_not_run_for_ever() -> None:
    unknown = fold(envelopes(REQUESTED, STARTED, INTENDED, UNKNOWN))
    assert "nobody knows" in unknown.steps[0].failure.message.text
    cancelled = fold(envelopes(REQUESTED, STARTED, BEGUN, ev.RunEvent(cancelled=ev.RunCancelled())))
    assert cancelled.steps[0].failure.error_class == "cancelled"
