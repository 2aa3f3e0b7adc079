"""POST /v1/agents/{name}/run and /runs: asking an agent, and waiting for its answer or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack

import orjson
from fastapi import APIRouter, Request, Response

from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, Run
from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.events.runs import TERMINAL
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.access import enter, gateway_of
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.bodies import RunBody, images_of, left, read_question, schema_text
from astromesh_gateway.documentation import STREAM_EXAMPLE, errors, header, json_body, path_parameter, run_answer
from astromesh_gateway.failures import problem_document, problem_response
from astromesh_gateway.following import Part, Told
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.progress import Update, done, update_of
from astromesh_gateway.replies import failure_error, run_reply
from astromesh_gateway.routes.lean import LeanRoute
from astromesh_gateway.sse import MEDIA_TYPE, EventStream, message
from astromesh_gateway.tokens import Restart, Token

router = APIRouter(tags=["runs"], route_class=LeanRoute)

_DOCUMENTED = {
    "parameters": [
        path_parameter("name", "The agent."),
        header("Idempotency-Key", "The same key and body is the same run; the same key with another body is refused."),
        header("X-Astromesh-Namespace", "For callers that may choose."),
    ],
    **json_body(RunBody, {"query": "How does Astromesh survive a crash?", "session_id": "tuesday"}),
}


class SeenText:
    """The text of the current step, as the caller has it before them."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """All of it by now."""
        return "".join(self._pieces)

    def note(self, part: Part) -> None:
        """Takes a part that was sent."""
        if isinstance(part, Token):
            self._pieces.append(part.text)
        elif isinstance(part, Restart) or (isinstance(part, Told) and part.envelope.run.HasField("model_call_begun")):
            self._pieces.clear()


@router.post(
    "/v1/agents/{name}/run",
    summary="Run an agent",
    responses={
        200: {
            **run_answer("The answer; with `Accept: text/event-stream` tokens and steps as they happen."),
            "content": {
                **run_answer("")["content"],
                MEDIA_TYPE: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE},
            },
        },
        202: run_answer(
            "The run waits for somebody or something, or is queued behind a run of its session that does; "
            "`waiting_for` says for what."
        ),
        **errors(400, 402, 404, 409, 413, 422, 429, 501, 503, 504),
    },
    openapi_extra=_DOCUMENTED,
)
async def run_agent(request: Request) -> Response:
    """Admits a run and answers when it has ended or waits. A run that failed answers its error, with its `run_id`."""
    asked, gateway = await _asked(request), gateway_of(request)
    with gateway.telemetry.span(f"run {asked.agent}", kind="server", parent=asked.traceparent):
        prepared = gateway.admission.prepare(asked)
        if MEDIA_TYPE in request.headers.get("accept", ""):
            return await _streamed(gateway, prepared)
        if asked.cancel_on_disconnect:
            return await _unless_left(request, gateway, prepared)
        return run_response(await gateway.following.complete(prepared), request.url.path)


@router.post(
    "/v1/agents/{name}/runs",
    status_code=202,
    summary="Start a run",
    responses={
        202: {
            "description": "Admitted, and stored.",
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {"run_id": "17-mfrggzdfmztwq2lknnwg23tpoa", "session_id": "tuesday", "status": "queued"},
                }
            },
        },
        **errors(400, 404, 409, 413, 422, 429, 501, 503),
    },
    openapi_extra=_DOCUMENTED,
)
async def start_run(request: Request) -> Response:
    """Admits a run and answers at once. Follow it at `/v1/runs/{run_id}/events`."""
    asked, gateway = await _asked(request), gateway_of(request)
    if asked.cancel_on_disconnect:
        raise InvalidInput("cancel_on_disconnect has no meaning for a run that nobody waits for")
    prepared = gateway.admission.prepare(asked)
    await gateway.admission.admit(prepared)
    body = {"run_id": prepared.run_id, "session_id": prepared.session_id, "agent": asked.agent, "status": "queued"}
    return Response(orjson.dumps(body), 202, run_headers(prepared.run_id), "application/json")


def run_response(run: Run, instance: str) -> Response:
    """200 with the answer, 202 with a run that waits, or the problem that it ended with."""
    if run.status in TERMINAL and run.status != RUN_STATUS_COMPLETED:
        return problem_response(failure_error(run), instance, run.run_id)
    status = 200 if run.status == RUN_STATUS_COMPLETED else 202
    return Response(orjson.dumps(run_reply(run)), status, run_headers(run.run_id), "application/json")


def run_headers(run_id: str) -> dict[str, str]:
    """Where the run is found."""
    return {"X-Run-Id": run_id, "Location": f"/v1/runs/{run_id}"}


async def updates(
    parts: AsyncIterator[Part], run_id: str, seen: SeenText | None = None
) -> AsyncGenerator[Update, None]:
    """A run's parts as messages; the last is `done` or `error`."""
    last: Told | None = None
    try:
        async for part in parts:
            if seen is not None:
                seen.note(part)
            last = part if isinstance(part, Told) else last
            yield update_of(part, run_id)
    except AstromeshError as error:
        yield Update("error", problem_document(error, run_id=run_id))
        return
    if last is not None and last.run.status not in TERMINAL:
        yield done(last.run)


async def _asked(request: Request) -> AskedRun:
    caller = enter(request, "user")
    body = await read_question(request, RunBody)
    return AskedRun(
        caller=caller,
        agent=request.path_params["name"],
        query=body.query,
        session_id=body.session_id,
        user=body.user,
        context=body.context,
        images=images_of(body),
        output_schema_json=schema_text(body.output_schema),
        idempotency_key=request.headers.get("idempotency-key", ""),
        cancel_on_disconnect=body.cancel_on_disconnect or request.query_params.get("cancel_on_disconnect") == "true",
        traceparent=current_traceparent(),
    )


async def _streamed(gateway: Gateway, prepared: PreparedRun) -> Response:
    async with AsyncExitStack() as stack:
        # Entered here, so that what refuses the run is an answer of its own and no event.
        parts = await stack.enter_async_context(gateway.following.streamed(prepared))
        seen = SeenText()
        chunks = (message(update) async for update in updates(parts, prepared.run_id, seen))
        return EventStream(
            chunks,
            stack.pop_all(),
            run_headers(prepared.run_id),
            lambda: gateway.departures.left(prepared, seen.text),
        )


async def _unless_left(request: Request, gateway: Gateway, prepared: PreparedRun) -> Response:
    completing = asyncio.create_task(gateway.following.complete(prepared))
    leaving = asyncio.create_task(left(request))
    try:
        await asyncio.wait((completing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if completing.done():
            return run_response(completing.result(), request.url.path)
        gateway.departures.left(prepared, "")
        return Response(status_code=499)
    finally:
        for task in (completing, leaving):
            task.cancel()
        await asyncio.wait((completing, leaving))
