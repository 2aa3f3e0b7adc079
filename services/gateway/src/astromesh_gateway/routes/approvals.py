"""/v1/approvals: what runs ask humans, and deciding it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from astromesh.v1.runs_pb2 import APPROVAL_STATE_PENDING
from astromesh_core.events.human_steps import asked
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.approval_replies import PendingReply, pending_reply
from astromesh_gateway.approvals import Answer, Approvals, Decision
from astromesh_gateway.bodies import Body
from astromesh_gateway.documentation import errors
from astromesh_gateway.replies import RunRecord, run_record

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])


class PendingPage(TypedDict):
    """What is asked, of the newest runs first; `next_page_token` is empty on the last page."""

    approvals: list[PendingReply]
    next_page_token: str


class PendingQuery(BaseModel):
    """Of which runs."""

    model_config = ConfigDict(extra="forbid")

    agent: str = ""
    session: str = Field(default="", description="As it was named; needs `agent`.")
    page_size: int = Field(default=50, ge=1, le=500, description="Counts runs.")
    page_token: str = ""


class DecisionBody(Body):
    """A decision on a tool call, or the answer to a question."""

    decision: Literal["approve", "deny"] | None = Field(
        default=None, description="Of a question, `deny` means that nobody will answer."
    )
    answer: str | None = Field(default=None, description="To a question.")
    comment: str = Field(default="", max_length=4_000, description="Why. The model reads it where a call is denied.")
    arguments: dict[str, JsonValue] | None = Field(
        default=None, description="What the call is made with instead; checked against the tool's schema."
    )
    sha256: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="Of the call that was shown: another one is refused (409).",
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.decision is None) == (self.answer is None):
            raise PydanticCustomError("decision", "needs either a decision or an answer")
        return self


@router.get("", summary="What runs ask humans", responses=errors(400, 422, 503))
async def list_approvals(
    caller: Viewer, gateway: TheGateway, asked_of: Annotated[PendingQuery, Query()]
) -> PendingPage:
    """Tool calls that wait for approval, and questions that wait for an answer, in the namespace."""
    found, following = await Approvals(gateway, caller).pending(
        asked_of.agent, asked_of.session, asked_of.page_size, asked_of.page_token
    )
    return PendingPage(approvals=[pending_reply(run, it) for run, it in found], next_page_token=following)


@router.post(
    "/{run_id}/{path}",
    summary="Approve, deny or answer",
    responses={202: {}, **errors(400, 404, 409, 422, 503)},
)
async def decide(
    response: Response, run_id: str, path: str, body: DecisionBody, caller: User, gateway: TheGateway
) -> RunRecord:
    """200 with the run once it is decided; 202 where its owner has not come to it within five seconds.

    The same decision again changes nothing; another one is refused (409).
    """
    approvals = Approvals(gateway, caller)
    if body.answer is not None:
        run = await approvals.answer(run_id, path, Answer(body.answer))
    else:
        edited = "" if body.arguments is None else orjson.dumps(body.arguments).decode()
        sha256 = bytes.fromhex(body.sha256)
        run = await approvals.decide(run_id, path, Decision(body.decision == "approve", body.comment, edited, sha256))
    approval = asked(run, path)
    waits = approval is not None and approval.state == APPROVAL_STATE_PENDING
    response.status_code = 202 if waits else 200
    return run_record(run)
