"""POST /v1/chat/completions and GET /v1/models: agents as models, for any OpenAI client.

The messages are the transcript, and memory is neither read nor written. Where a session is named (`session_id` in the
body, or `X-Astromesh-Session`) memory has the earlier turns: of the messages, system ones and the last are taken.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack

import orjson
from fastapi import APIRouter, Request, Response

from astromesh.v1.run_events_pb2 import SURFACE_OPENAI
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, Run
from astromesh.v1.values_pb2 import ROLE_SYSTEM, Usage
from astromesh_core.errors import AstromeshError, Conflict, Unavailable
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.access import enter, gateway_of
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.bodies import read_body
from astromesh_gateway.documentation import errors, header, json_body
from astromesh_gateway.following import Part, Told
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import failure_error
from astromesh_gateway.routes.lean import LeanRoute
from astromesh_gateway.routes.openai_replies import (
    ChatBody,
    Document,
    chunk,
    completion,
    error_document,
    error_response,
    split_transcript,
    usage,
)
from astromesh_gateway.routes.running import SeenText, run_headers
from astromesh_gateway.sse import EventStream
from astromesh_gateway.tokens import Restart, Token

router = APIRouter(tags=["openai"], route_class=LeanRoute)

_EXAMPLE: Document = {
    "model": "docs-agent",
    "messages": [{"role": "user", "content": "How does Astromesh survive a crash?"}],
    "stream": True,
}


@router.post(
    "/v1/chat/completions",
    summary="Chat completion",
    responses=errors(400, 404, 409, 413, 422, 429, 501, 503, 504),
    openapi_extra={
        "parameters": [header("X-Astromesh-Session", "Names a session, whose memory is then read and written.")],
        **json_body(ChatBody, _EXAMPLE),
    },
)
async def chat_completions(request: Request) -> Response:
    """Runs the agent that `model` names. Errors are problem documents with OpenAI's `error`."""
    try:
        return await _complete(request)
    except AstromeshError as error:
        return error_response(error)


@router.get("/v1/models", summary="Agents as models", responses=errors())
async def list_models(request: Request) -> Response:
    """The agents of the namespace."""
    try:
        caller = enter(request, "viewer")
    except AstromeshError as error:
        return error_response(error)
    models: list[Document] = [
        {
            "id": record.ref.name,
            "object": "model",
            "created": record.created_unix_nano // 1_000_000_000,
            "owned_by": record.ref.namespace,
        }
        for record in gateway_of(request).directory.records("Agent", caller.namespace)
    ]
    return Response(orjson.dumps({"object": "list", "data": models}), media_type="application/json")


async def _complete(request: Request) -> Response:
    caller, gateway = enter(request, "user"), gateway_of(request)
    body = await read_body(request, ChatBody)
    query, transcript = split_transcript(body.messages)
    session = request.headers.get("x-astromesh-session", "") or body.session_id
    asked = AskedRun(
        caller=caller,
        agent=body.model,
        query=query,
        session_id=session,
        user=body.user,
        idempotency_key=request.headers.get("idempotency-key", ""),
        surface=SURFACE_OPENAI,
        transcript=tuple(turn for turn in transcript if not session or turn.role == ROLE_SYSTEM),
        uses_memory=bool(session),
        traceparent=current_traceparent(),
    )
    prepared = gateway.admission.prepare(asked)
    headers = run_headers(prepared.run_id)
    if ignored := body.without_effect():
        headers["X-Astromesh-Without-Effect"] = ", ".join(ignored)
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return await _streamed(gateway, prepared, headers, with_usage)
    run = await gateway.following.complete(prepared)
    if run.status != RUN_STATUS_COMPLETED:
        return error_response(_ending(run), run.run_id)
    return Response(orjson.dumps(completion(run, int(time.time()))), 200, headers, "application/json")


async def _streamed(gateway: Gateway, prepared: PreparedRun, headers: dict[str, str], with_usage: bool) -> Response:
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(gateway.following.streamed(prepared))
        seen = SeenText()
        chunks = _chunks(parts, prepared, with_usage, seen)
        return EventStream(chunks, stack.pop_all(), headers, lambda: gateway.departures.left(prepared, seen.text))


async def _chunks(
    parts: AsyncIterator[Part], prepared: PreparedRun, with_usage: bool, seen: SeenText
) -> AsyncGenerator[bytes, None]:
    stream = _ChunkStream(prepared.run_id, prepared.event.agent, int(time.time()))
    try:
        yield stream.chunk({"role": "assistant", "content": ""})
        run: Run | None = None
        async for part in parts:
            seen.note(part)
            if isinstance(part, Told):
                run = part.run
            if text := stream.fresh_text(part):
                yield stream.chunk({"content": text})
        if run is None or run.status != RUN_STATUS_COMPLETED:
            raise _ending(run)
        yield stream.chunk({}, "stop")
        if with_usage:
            yield stream.usage_chunk(run.usage)
        yield b"data: [DONE]\n\n"
    except AstromeshError as error:
        yield _data(error_document(error, prepared.run_id))


class _ChunkStream:
    """The text of a run as one that only grows: what was sent cannot be taken back."""

    def __init__(self, run_id: str, model: str, created: int) -> None:
        self._run_id = run_id
        self._model = model
        self._created = created
        self._path = ""
        self._sent = ""
        self._again: str | None = None
        """The text of a new attempt, for as long as it only repeats what was sent."""

    def chunk(self, delta: Document, finish_reason: str | None = None) -> bytes:
        """One message of the stream."""
        return _data(chunk(self._run_id, self._model, self._created, delta, finish_reason))

    def usage_chunk(self, used: Usage) -> bytes:
        """The last message, where usage was asked for."""
        return _data({**chunk(self._run_id, self._model, self._created, {}), "choices": [], "usage": usage(used)})

    def fresh_text(self, part: Part) -> str:
        """What a part adds. Raises Unavailable where a new attempt says something else than was sent."""
        if isinstance(part, Restart):
            self._again = ""
        if not isinstance(part, Token):
            return ""
        if self._again is not None:
            return self._repeated(part)
        # What a model says before it calls tools is set apart from what it says after.
        gap = "\n\n" if self._path and part.path != self._path else ""
        self._sent = part.text if part.path != self._path else self._sent + part.text
        self._path = part.path
        return gap + part.text

    def _repeated(self, part: Token) -> str:
        again = (self._again or "") + part.text
        if len(again) <= len(self._sent):
            if not self._sent.startswith(again):
                raise Unavailable(
                    "the model's reply broke off and its new attempt says something else", retry_after=1.0
                )
            self._again = again
            return ""
        if not again.startswith(self._sent):
            raise Unavailable("the model's reply broke off and its new attempt says something else", retry_after=1.0)
        fresh = again[len(self._sent) :]
        self._sent, self._again = again, None
        return fresh


def _ending(run: Run | None) -> AstromeshError:
    if run is None:
        return Unavailable("the run's events ended before the run", retry_after=1.0)
    if run.status in TERMINAL:
        return failure_error(run)
    place = f" at step {run.waiting_path}" if run.waiting_path else ""
    return Conflict(f"the run is {STATUS_NAMES[run.status]}: it waits for {run.waiting_for}{place}")


def _data(document: Document) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)
