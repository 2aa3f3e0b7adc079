"""Performs the frame's effects: checks text, assembles the context, stores what is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_INPUT,
    GUARDRAIL_STAGE_OUTPUT,
    CheckTextRequest,
    CheckTextResponse,
    GuardrailStage,
)
from astromesh.v1.memory_pb2 import RecallRelatedResponse, RecallRequest, RecallResponse
from astromesh.v1.rag_pb2 import QueryRequest
from astromesh.v1.run_events_pb2 import (
    ContextAssembled,
    ConversationSummary,
    InputChecked,
    MemoryStored,
    OutputChecked,
    PassageChecked,
    RunEvent,
)
from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import InvalidInput, TemporaryError
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import AssembleContext, CheckInput, CheckOutput, Remember, RememberSummary
from astromesh_runtime.masking import mask_context
from astromesh_runtime.patience import patiently
from astromesh_runtime.prompts import prompt_variables
from astromesh_runtime.related import SHORT_SECONDS, asks_for_related, recall_related
from astromesh_runtime.scope import RunScope
from astromesh_runtime.tool_checks import check_passages
from astromesh_runtime.turns import without_calls

CHECK_SECONDS = 30.0
RECALL_SECONDS = 30.0
QUERY_SECONDS = 60.0


async def check_input(scope: RunScope, effect: CheckInput) -> InputChecked:
    """The question by the agent's input rules, as an event."""
    outcome = await checked_input(scope, effect)
    scope.recorded.masks.learn(outcome.masked)
    scope.record(RunEvent(input_checked=outcome))
    return outcome


async def checked_input(scope: RunScope, effect: CheckInput) -> InputChecked:
    """What the rules say; recorded nowhere."""
    start = scope.clock()
    checked = await _check(scope, GUARDRAIL_STAGE_INPUT, effect.text)
    return InputChecked(
        verdicts=checked.verdicts,
        policy_sha256=checked.policy_sha256,
        text=checked.text,
        blocked=checked.blocked,
        timing=scope.timing(start),
        masked=checked.masked,
    )


async def check_output(scope: RunScope, effect: CheckOutput) -> OutputChecked:
    """The answer by the agent's output rules."""
    start = scope.clock()
    passages = {passage.id: passage for passage in effect.passages} if scope.agent.guards.grounds else {}
    checked = await _check(scope, GUARDRAIL_STAGE_OUTPUT, effect.text, passages.values())
    outcome = OutputChecked(
        checked_digest=scope.digester.of_text(effect.text),
        verdicts=checked.verdicts,
        policy_sha256=checked.policy_sha256,
        text=checked.text,
        blocked=checked.blocked,
        timing=scope.timing(start),
    )
    scope.record(RunEvent(output_checked=outcome))
    return outcome


async def assemble_context(scope: RunScope, effect: AssembleContext) -> ContextAssembled:
    """What is remembered and known, and the system prompt rendered with both."""
    start, known = scope.clock(), scope.recorded.masks.count
    (recalled, missing), passages = await _recall(scope), list[Passage]()
    # Some vendors refuse calls in a transcript of somebody who has no tools.
    history = recalled.messages if scope.agent.tools else without_calls(recalled.messages)
    related = RecallRelatedResponse()
    if asks_for_related(scope):
        related, away = await recall_related(scope, effect.query, recalled.run_ids)
        missing = missing or away
    if scope.agent.knowledge is not None:
        passages = await _retrieve(scope, effect.query)
    passages, checked, policy = await _checked(scope, passages)
    context: dict[str, object] = orjson.loads(plain(scope.requested.context) or "{}")
    variables = prompt_variables(context, history, passages, related, boundary=_boundary(scope))
    outcome = ContextAssembled(
        system_prompt=text_content(scope.agent.prompt.render(variables)),
        history=history,
        passages=passages,
        memories=related.memories,
        episodes=related.episodes,
        memory_unavailable=missing,
        history_tokens=recalled.tokens,
        history_tokens_estimated=recalled.tokens_estimated,
        checked_passages=checked,
        policy_sha256=policy,
    )
    if recalled.HasField("summary"):
        outcome.summary.CopyFrom(recalled.summary)
    if recalled.HasField("to_fold"):
        outcome.to_fold.CopyFrom(recalled.to_fold)
    await mask_context(scope, outcome)
    outcome.masked.extend(scope.recorded.masks.known[known:])
    outcome.timing.CopyFrom(scope.timing(start))
    scope.record(RunEvent(context_assembled=outcome))
    return outcome


def rendered_again(scope: RunScope, context: ContextAssembled) -> str:
    """The system prompt of the run's agent with what another run knew.

    Raises InvalidInput where the agent masks personal data: what was masked then says nothing of a new prompt.
    """
    if scope.agent.guards.masks:
        raise InvalidInput("the agent masks personal data: with another prompt, fork before the context is assembled")
    variables: dict[str, object] = orjson.loads(plain(scope.requested.context) or "{}")
    related = RecallRelatedResponse(memories=context.memories, episodes=context.episodes)
    return scope.agent.prompt.render(
        prompt_variables(variables, context.history, context.passages, related, boundary=_boundary(scope))
    )


def remember(scope: RunScope, effect: Remember) -> MemoryStored:
    """The turn, as an event that memory is written from."""
    requested = scope.requested
    outcome = MemoryStored(
        session_key=requested.session_key,
        agent=requested.agent,
        turn=effect.turn,
        outside_conversation=not scope.agent.conversational,
        session_id=requested.session_id,
        user_key=requested.user_key,
    )
    scope.record(RunEvent(memory_stored=outcome))
    return outcome


def remember_summary(scope: RunScope, effect: RememberSummary) -> MemoryStored:
    """What older turns come to, as an event that memory is written from: no rebuild asks a model again."""
    summary = ConversationSummary(text=text_content(effect.text), through_run_id=effect.through_run_id)
    requested = scope.requested
    outcome = MemoryStored(session_key=requested.session_key, agent=requested.agent, summary=summary)
    scope.record(RunEvent(memory_stored=outcome))
    return outcome


async def _check(
    scope: RunScope, stage: GuardrailStage.ValueType, text: str, passages: Iterable[Passage] = ()
) -> CheckTextResponse:
    found = [Passage(id=passage.id, text=passage.text) for passage in passages]
    request = CheckTextRequest(agent=scope.agent.ref, stage=stage, text=text_content(text), passages=found)
    return await patiently(lambda: scope.services.guardrails.CheckText(request, timeout=CHECK_SECONDS))


def _boundary(scope: RunScope) -> str:
    return scope.recorded.started.data_boundary if scope.recorded.started is not None else ""


async def _checked(scope: RunScope, passages: list[Passage]) -> tuple[list[Passage], Sequence[PassageChecked], bytes]:
    """What is left of passages by the agent's rules for what comes from outside."""
    started = scope.recorded.started
    if not passages or started is None or not started.checks_tool_results:
        return passages, (), b""
    return await check_passages(scope, passages)


async def _recall(scope: RunScope) -> tuple[RecallResponse, str]:
    """What the session remembers, and why there is nothing where memory is away and the run goes on without it."""
    if not scope.agent.conversational or not scope.requested.uses_memory or scope.requested.private_session:
        return RecallResponse(), ""
    request = RecallRequest(
        agent=scope.agent.ref,
        session_key=scope.requested.session_key,
        after_position=scope.after_position,
    )
    memory = scope.services.memory
    if scope.agent.recalls_or_fails:
        return await patiently(lambda: memory.Recall(request, timeout=RECALL_SECONDS)), ""
    try:
        return await memory.Recall(request, timeout=SHORT_SECONDS), ""
    except TemporaryError as error:
        return RecallResponse(), error.message


async def _retrieve(scope: RunScope, query: str) -> list[Passage]:
    knowledge = scope.agent.knowledge
    assert knowledge is not None
    request = QueryRequest(
        namespace=knowledge.namespace,
        pipeline=knowledge.pipeline,
        query=text_content(query),
        top_k=knowledge.top_k,
    )
    response = await patiently(lambda: scope.services.rag.Query(request, timeout=QUERY_SECONDS))
    # The nearest may be far: what has nothing to do with the question is no knowledge for it, and no source.
    return [passage for passage in response.passages if passage.score > 0]
