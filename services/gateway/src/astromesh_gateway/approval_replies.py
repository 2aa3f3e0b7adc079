"""What runs ask humans, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict

from astromesh.v1.runs_pb2 import APPROVAL_KIND_QUESTION, Approval, ApprovalState, Run
from astromesh.v1.values_pb2 import Content
from astromesh_gateway.shown import moment, parsed, shown

STATES: Final = {number: name.removeprefix("APPROVAL_STATE_").lower() for name, number in ApprovalState.items()}


class ApprovalReply(TypedDict):
    """What a run asks: whether a tool may be called (`kind` approval), or a question. `sha256` is of the exact call,
    and `decide_at` is where the decision, or the answer, is sent."""

    run_id: str
    path: str
    kind: str
    state: str
    tool: str
    arguments: JsonValue
    sha256: str
    role: str
    requested_at: str
    decide_at: str
    expires_at: NotRequired[str]
    question: NotRequired[str]
    choices: NotRequired[list[str]]
    decided_at: NotRequired[str]
    principal: NotRequired[str]
    comment: NotRequired[str]
    answer: NotRequired[str]
    edited_arguments: NotRequired[JsonValue]


class PendingReply(ApprovalReply):
    """The same, of a run that is not told of beside it."""

    agent: str
    session_id: str


def approval_reply(run_id: str, approval: Approval) -> ApprovalReply:
    """As it stands. Stored contents have to be fetched before."""
    reply = ApprovalReply(
        run_id=run_id,
        path=approval.path,
        kind="question" if approval.kind == APPROVAL_KIND_QUESTION else "approval",
        state=STATES[approval.state],
        tool=approval.tool,
        arguments=parsed(shown(approval.arguments)),
        sha256=approval.effect_sha256.hex(),
        role=approval.role,
        requested_at=moment(approval.requested_unix_nano),
        decide_at=f"/v1/approvals/{run_id}/{approval.path}",
    )
    if approval.expires_unix_nano:
        reply["expires_at"] = moment(approval.expires_unix_nano)
    if approval.HasField("question"):
        reply["question"] = shown(approval.question)
    if approval.choices:
        reply["choices"] = [shown(choice) for choice in approval.choices]
    if approval.decided_unix_nano:
        _add_decision(reply, approval)
    return reply


def pending_reply(run: Run, approval: Approval) -> PendingReply:
    """As it stands, with its run."""
    reply = approval_reply(run.run_id, approval)
    return PendingReply(**reply, agent=run.agent, session_id=shown(run.session_id))


def approval_contents(run: Run) -> Iterator[Content]:
    """The contents that these replies show."""
    for approval in run.approvals:
        yield from (approval.arguments, approval.comment, approval.edited_arguments, approval.question)
        yield from approval.choices


def _add_decision(reply: ApprovalReply, approval: Approval) -> None:
    reply["decided_at"] = moment(approval.decided_unix_nano)
    if approval.principal:
        reply["principal"] = approval.principal
    if approval.HasField("comment"):
        said = shown(approval.comment)
        if reply["state"] == "answered":
            reply["answer"] = said
        elif said:
            reply["comment"] = said
    if approval.HasField("edited_arguments"):
        reply["edited_arguments"] = parsed(shown(approval.edited_arguments))
