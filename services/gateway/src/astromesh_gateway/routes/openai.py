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
from astromesh_core.events.contents import plain
from astromesh_core.events.human_steps import pending
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.access import enter, gateway_of
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.bodies import read_question
from astromesh_gateway.documentation import errors, header, json_body
from astromesh_gateway.following import Part, Told
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import failure_error
from astromesh_gateway.routes.lean import LeanRoute
from astromesh_gateway.routes.openai_replies import (
    Document,
    chunk,
    completion,
    error_document,
    error_response,
    finish_reason,
    usage,
    warned,
)
from astromesh_gateway.routes.openai_requests import ChatBody, split_transcript
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
    responses=errors(400, 402, 404, 409, 413, 422, 429, 501, 503, 504),
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
    body = await read_question(request, ChatBody)
    question, transcript = split_transcript(body.messages)
    session = request.headers.get("x-astromesh-session", "") or body.session_id
    asked = AskedRun(
        caller=caller,
        agent=body.model,
        query=plain(question.content),
        images=tuple(question.images),
        output_schema_json=body.output_schema_json(),
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
        stream.settle()
        yield stream.last_chunk(run)
        if with_usage:
            yield stream.usage_chunk(run.usage)
        yield b"data: [DONE]\n\n"
    except AstromeshError as error:
        yield _data(error_document(error, prepared.run_id))


class _ChunkStream:
    """The text of a run as one that only grows: what was sent cannot be taken back.

    Where a new attempt says something else, the stream ends with an error. Nothing is held back for that case, which
    would cost every answer its stream; and two texts are never sent as one.
    """

    def __init__(self, run_id: str, model: str, created: int) -> None:
        self._run_id = run_id
        self._model = model
        self._created = created
        self._path = ""
        self._sent: dict[str, list[str]] = {}
        """By the path of the model call, in pieces: there are thousands."""
        self._again: dict[str, str] = {}
        """The text of a call's new attempt, for as long as it only repeats what was sent."""

    def chunk(self, delta: Document, finish_reason: str | None = None) -> bytes:
        """One message of the stream."""
        return _data(chunk(self._run_id, self._model, self._created, delta, finish_reason))

    def last_chunk(self, run: Run) -> bytes:
        """The message that ends the answer."""
        return _data({**chunk(self._run_id, self._model, self._created, {}, finish_reason(run)), **warned(run)})

    def usage_chunk(self, used: Usage) -> bytes:
        """The last message, where usage was asked for."""
        return _data({**chunk(self._run_id, self._model, self._created, {}), "choices": [], "usage": usage(used)})

    def fresh_text(self, part: Part) -> str:
        """What a part adds. Raises Unavailable where a new attempt says something else than was sent."""
        if isinstance(part, Restart) and part.path in self._sent:
            self._again[part.path] = ""
        if not isinstance(part, Token):
            return ""
        if part.path in self._again:
            return self._repeated(part)
        # What a model says before it calls tools is set apart from what it says after.
        gap = "\n\n" if self._path and part.path != self._path else ""
        self._sent.setdefault(part.path, []).append(part.text)
        self._path = part.path
        return gap + part.text

    def settle(self) -> None:
        """The run is over. Raises Unavailable where a new attempt has said less than was sent."""
        if any("".join(self._sent[path]) != again for path, again in self._again.items()):
            raise self._contradicted()

    def _repeated(self, part: Token) -> str:
        sent, again = "".join(self._sent[part.path]), self._again[part.path] + part.text
        if again[: len(sent)] != sent[: len(again)]:
            raise self._contradicted()
        if len(again) <= len(sent):
            self._again[part.path] = again
            return ""
        del self._again[part.path]
        self._sent[part.path] = [again]
        return again[len(sent) :]

    def _contradicted(self) -> Unavailable:
        where = f"the whole answer stands at /v1/runs/{self._run_id} when the run has ended"
        return Unavailable(f"a model broke off, and another one answers with another text; {where}")


def _ending(run: Run | None) -> AstromeshError:
    if run is None:
        return Unavailable("the run's events ended before the run", retry_after=1.0)
    if run.status in TERMINAL:
        return failure_error(run)
    place = f" at step {run.waiting_path}" if run.waiting_path else ""
    approval = pending(run)
    how = f"; decide it by POST /v1/approvals/{run.run_id}/{approval.path}" if approval is not None else ""
    return Conflict(f"the run is {STATUS_NAMES[run.status]}: it waits for {run.waiting_for}{place}{how}")


def _data(document: Document) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)
