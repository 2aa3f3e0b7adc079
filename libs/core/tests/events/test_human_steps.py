"""What a run asks humans, and how it undoes what it did, as its readers see it."""

from __future__ import annotations

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import runs_pb2 as runs
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Failure, ToolCall
from astromesh_core.events.contents import text_content
from astromesh_core.events.human_steps import pending
from astromesh_core.events.runs import fold

CALL = ToolCall(id="c1", name="pay", arguments=text_content('{"amount": 900}'))
BEGUN = [ev.RunEvent(requested=ev.RunRequested(agent="a")), ev.RunEvent(started=ev.RunStarted())]
ASKED = [
    *BEGUN,
    ev.RunEvent(approval_requested=ev.ApprovalRequested(path="2.1", call=CALL, effect_sha256=b"x", role="admin")),
    ev.RunEvent(suspended=ev.Suspended(reason=ev.SUSPENSION_REASON_APPROVAL, path="2.1")),
]


def folded(*events: ev.RunEvent) -> runs.Run:
    return fold(
        Envelope(aggregate_id="07-x", index=at, run=event, time_unix_nano=at) for at, event in enumerate(events)
    )


def decided(**more: object) -> list[ev.RunEvent]:
    event = ev.ApprovalDecided(path="2.1", principal="ann", **more)  # pyright: ignore[reportArgumentType]  # by name
    return [*ASKED, ev.RunEvent(approval_decided=event), ev.RunEvent(resumed=ev.Resumed())]


def test_a_call_that_is_put_to_a_human_waits_and_says_who_may_decide() -> None:
    run = folded(*ASKED)
    asked = pending(run)
    assert asked is not None
    assert (asked.path, asked.tool, asked.role, asked.requested_unix_nano) == ("2.1", "pay", "admin", 2)
    assert (run.status, run.waiting_for) == (runs.RUN_STATUS_SUSPENDED, "approval")
    assert run.steps[0].status == runs.STEP_STATUS_WAITING


def test_a_decision_is_kept_with_who_made_it_and_what_was_changed() -> None:
    run = folded(*decided(approved=True, edited_arguments=text_content('{"amount": 9}'), comment=text_content("less")))
    assert pending(run) is None
    approval = run.approvals[0]
    assert (approval.state, approval.principal, approval.decided_unix_nano) == (runs.APPROVAL_STATE_APPROVED, "ann", 4)
    assert run.steps[0].input.text == '{"amount": 9}'
    assert folded(*decided(approved=False)).approvals[0].state == runs.APPROVAL_STATE_DENIED
    assert folded(*decided(expired=True)).approvals[0].state == runs.APPROVAL_STATE_EXPIRED


def test_nobody_is_asked_once_the_run_has_ended() -> None:
    run = folded(*ASKED, ev.RunEvent(cancelled=ev.RunCancelled()))
    assert pending(run) is None
    assert run.approvals[0].state == runs.APPROVAL_STATE_GONE
    assert run.steps[0].status == runs.STEP_STATUS_FAILED


def test_a_question_is_asked_with_its_choices_and_answered() -> None:
    question = ev.QuestionAsked(path="2.1", call=CALL, question=text_content("which?"), choices=[text_content("a")])
    answered = ev.QuestionAnswered(path="2.1", answer=text_content("a"), principal="bob")
    run = folded(*BEGUN, ev.RunEvent(question_asked=question), ev.RunEvent(question_answered=answered))
    approval = run.approvals[0]
    assert (approval.kind, approval.state) == (runs.APPROVAL_KIND_QUESTION, runs.APPROVAL_STATE_ANSWERED)
    assert (approval.question.text, approval.comment.text, approval.role) == ("which?", "a", "user")


def test_what_is_undone_what_cannot_be_and_what_is_left_is_said() -> None:
    cause = Failure(error_class="unavailable", message=text_content("no model"))
    done = [ev.RunEvent(tool_intended=ev.ToolIntended(path=path, call=CALL)) for path in ("2.1", "4.1")]
    begun = [*BEGUN, *done, ev.RunEvent(compensation_started=ev.CompensationStarted(cause=cause))]
    undone = ev.RunEvent(step_compensated=ev.StepCompensated(path="4.1"))
    failed = ev.StepCompensationFailed(path="2.1", failure=Failure(error_class="denied"))
    stuck = folded(*begun, undone, ev.RunEvent(step_compensation_failed=failed))
    assert (stuck.status, stuck.waiting_for, stuck.waiting_path) == (runs.RUN_STATUS_NEEDS_HUMAN, "compensation", "2.1")
    assert stuck.failure.error_class == "unavailable"
    left = ev.RunCompensated(cause=cause, left=[ev.LeftStep(path="2.1", name="pay", reason="ann left it")])
    run = folded(*begun, undone, ev.RunEvent(compensated=left))
    assert run.status == runs.RUN_STATUS_COMPENSATED
    assert run.steps[1].status == runs.STEP_STATUS_COMPENSATED
    assert run.warnings == ["step 2.1 (pay) was not undone: ann left it"]
