"""Puts tool calls, and questions, to humans; what they decide comes as signals, and nobody waits in between.

not asked ──▶ asked: the run waits, holding no worker ──signal──▶ approved ▸ the call is made, as it is or as edited
                                                     ├─signal──▶ answered ▸ the answer is what the tool answered
                                                     ├─signal──▶ denied ▸ the call failed, and the model reads why
                                                     └─timer───▶ expired ▸ likewise

What is asked is bound to its path and the hash of the exact call. The first decision in the order of signals counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import structlog
from pydantic import JsonValue

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_QUESTION,
    ApprovalDecided,
    ApprovalRequested,
    QuestionAnswered,
    QuestionAsked,
    RunEvent,
    ToolFailed,
    ToolSucceeded,
)
from astromesh.v1.signal_pb2 import AnswerSignal, DecideSignal, Signal
from astromesh.v1.values_pb2 import ToolCall, ToolResult
from astromesh_core.call_arguments import read_arguments
from astromesh_core.errors import AstromeshError, Denied, InvalidInput, TimedOut
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.tool_approval import ApprovalRule
from astromesh_core.resources.tool_permissions import given_arguments
from astromesh_runtime.controls import Controls, control_of
from astromesh_runtime.interventions import Ask, Interventions
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope
from astromesh_runtime.waits import Waits

log = structlog.get_logger("astromesh.runtime")

Put: TypeAlias = Waits | ToolSucceeded | ToolFailed | ToolCall | None
"""What became of a call that may be put to a human: the run waits; its outcome is known, without a call; it is made as
this call; it is made as it is."""


def put_to_human(scope: RunScope, path: str, sha256: bytes, call: ToolCall) -> Put:
    """Asks a human where the tool says so and nobody was asked; else says what was decided. Records what is asked."""
    ask = scope.recorded.interventions.asks.get(path)
    if ask is None and not scope.agent.controls:
        return None
    if ask is None:
        spec = scope.tool(call.name)
        controls = control_of(scope.agent.controls, call.name, spec)
        if controls is None or (controls.approval is None and controls.question is None):
            return None
        schema = spec.parameters_json if spec is not None else ""
        if controls.approval is not None and not _asks(controls.approval, call, schema):
            return None
        try:
            arguments = read_arguments(plain(call.arguments), schema)
        except InvalidInput as error:
            # Nobody is bothered with a call that would be refused: the model is told, and tries again.
            failed = _failed(path, sha256, error)
            failed.call.CopyFrom(call)
            return failed
        ask = _ask(scope, controls, path, sha256, call, arguments)
    if ask.decision is None:
        return _waits(ask)
    return _decided(ask, sha256, call)


def decision_event(interventions: Interventions, signal: Signal) -> RunEvent | None:
    """The event that a signal means for what is asked; None where it has lost its object, or is about another call."""
    kind = signal.WhichOneof("body")
    if kind == "decide":
        return _decision(_pending(interventions, signal.decide.path), signal.decide, signal.principal)
    if kind == "answer":
        return _answer(_pending(interventions, signal.answer.path), signal.answer, signal.principal)
    if kind == "timer":
        return _expiry(_pending(interventions, signal.timer.path), signal.time_unix_nano)
    return None


async def set_timers(scope: RunScope) -> None:
    """Sets the timer of everything asked that is not to wait for ever: as often as the run is about to wait. Raises
    TemporaryError where the bus is away."""
    for ask in scope.recorded.interventions.pending():
        if ask.event.expires_unix_nano:
            await scope.services.timers.schedule(scope.namespace, scope.run_id, ask.path, ask.event.expires_unix_nano)


async def drop_timer(scope: RunScope, ask: Ask) -> None:
    """Takes the timer of a decided ask back. Where that fails it fires, and means nothing."""
    if not ask.event.expires_unix_nano:
        return
    try:
        await scope.services.timers.cancel_timer(scope.namespace, scope.run_id, ask.path)
    except AstromeshError as error:
        log.info("a timer is left to fire", run_id=scope.run_id, path=ask.path, reason=error.message)


def _asks(rule: ApprovalRule, call: ToolCall, schema: str) -> bool:
    given = given_arguments(plain(call.arguments), schema)
    return given is None or rule.asks(given)


def _ask(
    scope: RunScope,
    controls: Controls,
    path: str,
    sha256: bytes,
    call: ToolCall,
    arguments: Mapping[str, JsonValue],
) -> Ask:
    question, approval = controls.question, controls.approval
    seconds = question.timeout_seconds if question is not None else approval.seconds if approval is not None else None
    expires = scope.clock() + int(seconds * 1e9) if seconds is not None else 0
    event: ApprovalRequested | QuestionAsked
    if question is not None:
        choices = arguments.get("choices")
        event = QuestionAsked(
            path=path,
            effect_sha256=sha256,
            call=call,
            expires_unix_nano=expires,
            question=text_content(str(arguments["question"])),
            choices=[text_content(str(choice)) for choice in choices] if isinstance(choices, list) else (),
        )
        scope.record(RunEvent(question_asked=event))
    else:
        role = approval.role if approval is not None else "user"
        event = ApprovalRequested(path=path, effect_sha256=sha256, call=call, expires_unix_nano=expires, role=role)
        scope.record(RunEvent(approval_requested=event))
    ask = Ask(event)
    scope.recorded.interventions.asks[path] = ask
    return ask


def _waits(ask: Ask) -> Waits:
    if isinstance(ask.event, QuestionAsked):
        return Waits(SUSPENSION_REASON_QUESTION, ask.path, "a question is to be answered")
    return Waits(SUSPENSION_REASON_APPROVAL, ask.path, f"a call of {ask.event.call.name} is to be approved")


def _decided(ask: Ask, sha256: bytes, call: ToolCall) -> ToolSucceeded | ToolFailed | ToolCall | None:
    decision = ask.decision
    if isinstance(decision, QuestionAnswered):
        return _answered(decision, sha256, call)
    assert decision is not None
    if not decision.approved:
        return _failed(ask.path, sha256, _denial(call.name, decision))
    if not decision.HasField("edited_arguments"):
        return None
    return ToolCall(id=call.id, name=call.name, arguments=decision.edited_arguments)


def _answered(decision: QuestionAnswered, sha256: bytes, call: ToolCall) -> ToolSucceeded | ToolFailed:
    if decision.expired:
        return _failed(decision.path, sha256, TimedOut("nobody answered the question in time"))
    if decision.declined:
        return _failed(decision.path, sha256, Denied(_because("the user will not answer", plain(decision.answer))))
    result = ToolResult(tool_call_id=call.id, name=call.name, output=decision.answer)
    return ToolSucceeded(path=decision.path, effect_sha256=sha256, result=result, resolved_by=decision.principal)


def _denial(name: str, decision: ApprovalDecided) -> Denied:
    if decision.expired:
        return Denied(f"this call of {name} was not made: nobody approved it in time")
    return Denied(_because(f"this call of {name} was not made: a human denied it", plain(decision.comment)))


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def _failed(path: str, sha256: bytes, error: AstromeshError) -> ToolFailed:
    return ToolFailed(path=path, effect_sha256=sha256, failure=failure_of(error))


def _pending(interventions: Interventions, path: str) -> Ask | None:
    return next((ask for ask in interventions.pending() if ask.path == path), None)


def _decision(ask: Ask | None, signal: DecideSignal, principal: str) -> RunEvent | None:
    if ask is None or isinstance(ask.event, QuestionAsked):
        return None
    if signal.effect_sha256 and signal.effect_sha256 != ask.event.effect_sha256:
        return None
    decided = ApprovalDecided(
        path=ask.path, effect_sha256=ask.event.effect_sha256, approved=signal.approved, principal=principal
    )
    if signal.HasField("comment"):
        decided.comment.CopyFrom(signal.comment)
    if signal.approved and signal.HasField("edited_arguments"):
        decided.edited_arguments.CopyFrom(signal.edited_arguments)
    return RunEvent(approval_decided=decided)


def _answer(ask: Ask | None, signal: AnswerSignal, principal: str) -> RunEvent | None:
    if ask is None or not isinstance(ask.event, QuestionAsked):
        return None
    answered = QuestionAnswered(
        path=ask.path,
        effect_sha256=ask.event.effect_sha256,
        answer=signal.answer,
        principal=principal,
        declined=signal.declined,
    )
    return RunEvent(question_answered=answered)


def _expiry(ask: Ask | None, fired_unix_nano: int) -> RunEvent | None:
    if ask is None or not 0 < ask.event.expires_unix_nano <= fired_unix_nano:
        return None
    sha256 = ask.event.effect_sha256
    if isinstance(ask.event, QuestionAsked):
        return RunEvent(question_answered=QuestionAnswered(path=ask.path, effect_sha256=sha256, expired=True))
    return RunEvent(approval_decided=ApprovalDecided(path=ask.path, effect_sha256=sha256, expired=True))
