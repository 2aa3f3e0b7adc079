"""Masks what a run's model reads beside the question: the prompt, what is remembered, what the caller brought."""

from __future__ import annotations

from collections.abc import Iterator

from astromesh.v1.guardrails_pb2 import MaskTextsRequest
from astromesh.v1.run_events_pb2 import ContextAssembled
from astromesh.v1.values_pb2 import Content, Message
from astromesh_core.events.contents import plain
from astromesh_runtime.patience import patiently
from astromesh_runtime.scope import RunScope

MASK_SECONDS = 30.0


async def mask_context(scope: RunScope, context: ContextAssembled) -> None:
    """Masks the context in place, and adds the caller's transcript to it; does nothing in a run that masks nothing.

    New tokens are in the record's masks.
    """
    started = scope.recorded.started
    if started is None or not started.masks:
        return
    context.given.extend(scope.requested.transcript)
    contents, masks = list(_read_by_model(context)), scope.recorded.masks
    request = MaskTextsRequest(agent=scope.agent.ref, texts=contents, masked=masks.known)
    response = await patiently(lambda: scope.services.guardrails.MaskTexts(request, timeout=MASK_SECONDS))
    for content, masked in zip(contents, response.texts, strict=True):
        content.CopyFrom(masked)
    masks.learn(response.masked)


def _read_by_model(context: ContextAssembled) -> Iterator[Content]:
    """The contents of it that a model reads; passages and memories stand in the prompt."""
    for content in (context.system_prompt, context.summary):
        if plain(content):
            yield content
    for message in (*context.history, *context.to_fold.messages, *context.given):
        yield from _of_message(message)


def _of_message(message: Message) -> Iterator[Content]:
    if plain(message.content):
        yield message.content
    for call in message.tool_calls:
        yield call.arguments
