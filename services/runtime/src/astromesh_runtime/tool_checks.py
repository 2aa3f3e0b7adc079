"""Asks the agent's rules about what goes to tools and what comes back, before the one is intended and the other read.

What a tool answered is recorded before it is checked: a crash in between asks the rules again, never the tool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import orjson

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_TOOL_ARGUMENTS,
    GUARDRAIL_STAGE_TOOL_RESULTS,
    CheckTextRequest,
    CheckTextResponse,
    GuardrailStage,
)
from astromesh.v1.run_events_pb2 import (
    PassageChecked,
    RunEvent,
    ToolArgumentsChecked,
    ToolFailed,
    ToolResultChecked,
    ToolSucceeded,
)
from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, Content, Failure, Passage, Verdict
from astromesh_core.errors import PolicyRefused
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import CheckArguments, CheckResults, ToolOutcome
from astromesh_runtime.guarding import Member
from astromesh_runtime.patience import patiently
from astromesh_runtime.scope import RunScope

CHECK_SECONDS = 30.0
WITHHELD = "(withheld by a guardrail)"
"""Stands in a retrieval's answer for a passage that was left out."""


async def check_arguments(scope: RunScope, effect: CheckArguments) -> list[ToolArgumentsChecked]:
    """What the rules say of each call, asked where the log does not hold it."""
    return await asyncio.gather(*(_arguments(scope, member) for member in effect.calls))


async def check_results(scope: RunScope, effect: CheckResults) -> list[ToolResultChecked | None]:
    """What the rules say of each outcome; None of a call that was refused, and of which nothing came."""
    pairs = zip(effect.calls, effect.outcomes, strict=True)
    return await asyncio.gather(*(_result(scope, member, outcome) for member, outcome in pairs))


async def check_passages(
    scope: RunScope, passages: Sequence[Passage]
) -> tuple[list[Passage], list[PassageChecked], bytes]:
    """The passages that go on, what was said of each, and the policy that said it."""
    checks = await asyncio.gather(*(_check(scope, GUARDRAIL_STAGE_TOOL_RESULTS, passage.text) for passage in passages))
    told = [
        PassageChecked(passage_id=passage.id, verdicts=check.verdicts, blocked=check.blocked)
        for passage, check in zip(passages, checks, strict=True)
    ]
    left = [_changed(passage, check) for passage, check in zip(passages, checks, strict=True) if not check.blocked]
    return left, told, next((check.policy_sha256 for check in checks), b"")


def refusal_of(what: str, verdicts: Iterable[Verdict]) -> Failure:
    """Tells the model that a rule stands in the way, and nothing of what it found."""
    rules = ", ".join(verdict.rule for verdict in verdicts if verdict.action == VERDICT_ACTION_BLOCK)
    return Failure(error_class=PolicyRefused.code, message=text_content(f"{what} by the agent's guardrail {rules}"))


async def _arguments(scope: RunScope, member: Member) -> ToolArgumentsChecked:
    recorded = scope.recorded.arguments_checked.get(member.path)
    if recorded is not None:
        return recorded
    start, written = scope.clock(), plain(member.call.arguments) if member.call else ""
    check = await _check(scope, GUARDRAIL_STAGE_TOOL_ARGUMENTS, text_content(written))
    event = ToolArgumentsChecked(
        path=member.path,
        call=member.call,
        verdicts=check.verdicts,
        policy_sha256=check.policy_sha256,
        timing=scope.timing(start),
    )
    if check.blocked:
        event.refusal.CopyFrom(refusal_of("these arguments were refused", check.verdicts))
    elif plain(check.text) != written:
        event.arguments.CopyFrom(check.text)
    scope.record(RunEvent(tool_arguments_checked=event))
    return event


async def _result(scope: RunScope, member: Member, outcome: ToolOutcome) -> ToolResultChecked | None:
    if member.is_refused:
        return None
    recorded = scope.recorded.results_checked.get(member.path)
    if recorded is not None:
        return recorded
    start, text = scope.clock(), _read_by_model(outcome)
    event = ToolResultChecked(path=member.path, tool_call_id=member.call.id if member.call else "")
    known = scope.recorded.masks.count
    if isinstance(outcome, ToolSucceeded) and outcome.result.passages:
        text = await _retrieved(scope, event, text, outcome.result.passages)
    check = await _check(scope, GUARDRAIL_STAGE_TOOL_RESULTS, text_content(text))
    event.verdicts.extend(check.verdicts)
    event.policy_sha256, event.blocked = check.policy_sha256, check.blocked
    event.text.CopyFrom(_withheld(check.verdicts, outcome) if check.blocked else check.text)
    event.masked.extend(scope.recorded.masks.known[known:])
    event.timing.CopyFrom(scope.timing(start))
    scope.record(RunEvent(tool_result_checked=event))
    return event


async def _retrieved(scope: RunScope, event: ToolResultChecked, text: str, passages: Sequence[Passage]) -> str:
    """Checks each passage by itself, so that a bad one does not take the others with it; the answer without it."""
    left, told, _ = await check_passages(scope, passages)
    event.checked_passages.extend(told)
    now = {passage.id: passage for passage in left}
    for passage in passages:
        before, after = plain(passage.text), now.get(passage.id)
        changed = WITHHELD if after is None else plain(after.text)
        if changed != before and before:
            text = text.replace(_in_json(before), _in_json(changed)).replace(before, changed)
            if after is not None:
                event.passages.append(after)
    return text


async def _check(scope: RunScope, stage: GuardrailStage.ValueType, text: Content) -> CheckTextResponse:
    started, masks = scope.recorded.started, scope.recorded.masks
    async with scope.masking if started is not None and started.masks else nullcontext():
        request = CheckTextRequest(agent=scope.agent.ref, stage=stage, text=text, masked=masks.known)
        check = await patiently(lambda: scope.services.guardrails.CheckText(request, timeout=CHECK_SECONDS))
        masks.learn(check.masked)
    return check


def _read_by_model(outcome: ToolOutcome) -> str:
    if isinstance(outcome, ToolSucceeded):
        return plain(outcome.result.output)
    if isinstance(outcome, ToolFailed) or outcome.HasField("failure"):
        return plain(outcome.failure.message)
    return plain(outcome.answer)


def _withheld(verdicts: Iterable[Verdict], outcome: ToolOutcome) -> Content:
    failure = refusal_of("what the tool answered was withheld", verdicts)
    if not isinstance(outcome, ToolSucceeded) and outcome.HasField("failure"):
        return failure.message
    told = {"error": failure.error_class, "message": plain(failure.message)}
    return text_content(orjson.dumps(told).decode())


def _changed(passage: Passage, check: CheckTextResponse) -> Passage:
    if plain(check.text) == plain(passage.text):
        return passage
    changed = Passage()
    changed.CopyFrom(passage)
    changed.text.CopyFrom(check.text)
    return changed


def _in_json(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]
