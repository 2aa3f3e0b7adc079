"""Folds what a run asks humans, and how it undoes what it did. Called by `runs`, which folds everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runs_pb2 import (
    APPROVAL_KIND_CALL,
    APPROVAL_KIND_QUESTION,
    APPROVAL_STATE_ANSWERED,
    APPROVAL_STATE_APPROVED,
    APPROVAL_STATE_DENIED,
    APPROVAL_STATE_EXPIRED,
    APPROVAL_STATE_GONE,
    APPROVAL_STATE_PENDING,
    RUN_STATUS_NEEDS_HUMAN,
    RUN_STATUS_RUNNING,
    STEP_KIND_TOOL,
    STEP_STATUS_COMPENSATED,
    STEP_STATUS_RUNNING,
    STEP_STATUS_WAITING,
    Approval,
    ApprovalKind,
    ApprovalState,
    Run,
)

if TYPE_CHECKING:
    from astromesh_core.events.runs import RunFolder

USER = "user"
"""The role that answers questions, and decides where a tool names none."""

WAITS_FOR_COMPENSATION = "compensation"
"""What a run waits for of which a step could not be undone."""


def pending(run: Run, path: str = "") -> Approval | None:
    """What the run asks a human at the path, or anywhere; None where nobody is asked."""
    asked = (it for it in run.approvals if it.state == APPROVAL_STATE_PENDING and path in ("", it.path))
    return next(asked, None)


def asked(run: Run, path: str) -> Approval | None:
    """What was asked last at the path, decided or not."""
    return next((it for it in reversed(run.approvals) if it.path == path), None)


def no_longer_asked(run: Run) -> None:
    """The run ends: nobody needs to decide anything."""
    for approval in run.approvals:
        if approval.state == APPROVAL_STATE_PENDING:
            approval.state = APPROVAL_STATE_GONE


def _requested(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    approval = _asked(folder, envelope, event, APPROVAL_KIND_CALL)
    approval.role = event.role or USER


def _question(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    approval = _asked(folder, envelope, event, APPROVAL_KIND_QUESTION)
    approval.role = USER
    approval.question.CopyFrom(event.question)
    approval.choices.extend(event.choices)


def _asked(folder: RunFolder, envelope: Envelope, event: Any, kind: ApprovalKind.ValueType) -> Approval:
    step = folder.step(event.path)
    step.kind, step.name, step.status = STEP_KIND_TOOL, event.call.name, STEP_STATUS_WAITING
    step.input.CopyFrom(event.call.arguments)
    step.timing.start_unix_nano = envelope.time_unix_nano
    return folder.run.approvals.add(
        path=event.path,
        kind=kind,
        tool=event.call.name,
        arguments=event.call.arguments,
        effect_sha256=event.effect_sha256,
        requested_unix_nano=envelope.time_unix_nano,
        expires_unix_nano=event.expires_unix_nano,
        state=APPROVAL_STATE_PENDING,
    )


def _decided(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    approval = _settled(folder, envelope, event, APPROVAL_STATE_APPROVED if event.approved else APPROVAL_STATE_DENIED)
    if approval is None:
        return
    approval.comment.CopyFrom(event.comment)
    if event.HasField("edited_arguments"):
        approval.edited_arguments.CopyFrom(event.edited_arguments)
        folder.step(event.path).input.CopyFrom(event.edited_arguments)


def _answered(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    state = APPROVAL_STATE_DENIED if event.declined else APPROVAL_STATE_ANSWERED
    approval = _settled(folder, envelope, event, state)
    if approval is not None:
        approval.comment.CopyFrom(event.answer)


def _settled(folder: RunFolder, envelope: Envelope, event: Any, state: ApprovalState.ValueType) -> Approval | None:
    approval = pending(folder.run, event.path)
    if approval is not None:
        approval.state = APPROVAL_STATE_EXPIRED if event.expired else state
        approval.principal = event.principal
        approval.decided_unix_nano = envelope.time_unix_nano
        folder.step(event.path).status = STEP_STATUS_RUNNING
    return approval


def _compensation_started(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    run = folder.run
    run.status = RUN_STATUS_RUNNING
    run.waiting_for = run.waiting_path = ""
    run.failure.CopyFrom(event.cause)
    if event.HasField("partial_answer"):
        run.answer.CopyFrom(event.partial_answer)
    no_longer_asked(run)


def _step_compensated(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    step.status = STEP_STATUS_COMPENSATED
    step.ClearField("failure")


def _compensation_failed(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    if not event.resolved_by:
        folder.run.status = RUN_STATUS_NEEDS_HUMAN
        folder.run.waiting_for, folder.run.waiting_path = WAITS_FOR_COMPENSATION, event.path
        folder.step(event.path).failure.CopyFrom(event.failure)


HUMAN_FOLDS: dict[str, Callable[[RunFolder, Envelope, Any], None]] = {
    "approval_requested": _requested,
    "approval_decided": _decided,
    "question_asked": _question,
    "question_answered": _answered,
    "compensation_started": _compensation_started,
    "step_compensated": _step_compensated,
    "step_compensation_failed": _compensation_failed,
}
