"""/v1/guardrails: what an agent's rules say of a text, outside any run. Nothing is stored."""

from __future__ import annotations

from typing import Literal, NotRequired

from fastapi import APIRouter
from pydantic import Field
from typing_extensions import TypedDict

from astromesh.v1.guardrails_pb2 import CheckTextRequest, CheckTextResponse, GuardrailStage
from astromesh.v1.values_pb2 import Verdict, VerdictAction
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.guardrail_streaming import held_back
from astromesh_gateway.access import TheGateway, User
from astromesh_gateway.bodies import Body
from astromesh_gateway.documentation import errors
from astromesh_gateway.shown import shown

router = APIRouter(prefix="/v1/guardrails", tags=["guardrails"])

CHECK_SECONDS = 60.0


class CheckBody(Body):
    """A text, and the stage at whose rules it is shown."""

    agent: str = Field(examples=["docs-agent"])
    text: str = Field(max_length=1_000_000, examples=["write to ada@example.com"])
    stage: Literal["input", "tool_arguments", "tool_results", "output"] = "input"


class FoundReply(TypedDict):
    """What a rule found: characters `start` to `end` (exclusive) of the text as the rule saw it."""

    kind: str
    start: int
    end: int
    severity: NotRequired[str]


class VerdictReply(TypedDict):
    """What one rule says. In a dry run, `action` is what it would have done."""

    place: str
    rule: str
    action: str
    dry_run: bool
    findings: list[FoundReply]
    policy: NotRequired[str]
    error_class: NotRequired[str]


class CheckReply(TypedDict):
    """What all rules of a stage say, in the order in which they are asked: also those behind one that blocks.

    `text` is what goes on; a blocked text has a `reason` instead. `held_back` says, of an answer, for whose sake it is
    told only when it is whole.
    """

    agent: str
    stage: str
    blocked: bool
    verdicts: list[VerdictReply]
    policy_sha256: str
    text: NotRequired[str]
    reason: NotRequired[str]
    held_back: NotRequired[list[str]]


@router.post("/check", summary="Ask an agent's rules", responses=errors(404, 422, 503, 504))
async def check(body: CheckBody, caller: User, gateway: TheGateway) -> CheckReply:
    """Shows what each rule of a stage says of a text, without a run."""
    record = gateway.directory.record("Agent", caller.namespace, body.agent)
    request = CheckTextRequest(
        agent=record.ref,
        stage=GuardrailStage.Value(f"GUARDRAIL_STAGE_{body.stage.upper()}"),
        text=text_content(body.text),
        every_rule=True,
    )
    answer = await gateway.services.guardrails.CheckText(request, timeout=CHECK_SECONDS)
    reply = CheckReply(
        agent=body.agent,
        stage=body.stage,
        blocked=answer.blocked,
        verdicts=_verdicts(answer),
        policy_sha256=answer.policy_sha256.hex(),
    )
    if answer.blocked:
        reply["reason"] = answer.reason
    else:
        reply["text"] = shown(answer.text)
    if body.stage == "output":
        rules = AgentSpec.from_json(record.spec_json).guardrails
        reply["held_back"] = [f"{place}: {reason}" for place, reason in held_back(rules)]
    return reply


def _verdicts(answer: CheckTextResponse) -> list[VerdictReply]:
    return [_verdict(place, verdict) for place, verdict in zip(answer.places, answer.verdicts, strict=True)]


def _verdict(place: str, verdict: Verdict) -> VerdictReply:
    reply = VerdictReply(
        place=place,
        rule=verdict.rule,
        action=VerdictAction.Name(verdict.action).removeprefix("VERDICT_ACTION_").lower(),
        dry_run=verdict.dry_run,
        findings=[_found(it.kind, it.start, it.end, it.severity) for it in verdict.findings],
    )
    if verdict.policy:
        reply["policy"] = verdict.policy
    if verdict.error_class:
        reply["error_class"] = verdict.error_class
    return reply


def _found(kind: str, start: int, end: int, severity: str) -> FoundReply:
    found = FoundReply(kind=kind, start=start, end=end)
    if severity:
        found["severity"] = severity
    return found
