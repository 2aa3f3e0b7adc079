"""/v1/runs: looking runs up, following them, verifying and replaying them, and settling what waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Literal, cast

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from google.protobuf.json_format import MessageToDict
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from astromesh.v1.runs_pb2 import RUN_STATUS_UNSPECIFIED, RunFilter, RunStatus
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_FAILED, RESOLVED_OUTCOME_SUCCEEDED
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import InvalidInput
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.identity import session_key
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.bodies import CancelBody, FeedbackBody, ResolveBody
from astromesh_gateway.documentation import STREAM_EXAMPLE, errors
from astromesh_gateway.feedback import give_feedback, reviewed
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.moments import unix_nano
from astromesh_gateway.replies import RunRecord, run_record
from astromesh_gateway.routes.running import run_headers, updates
from astromesh_gateway.shown import moment
from astromesh_gateway.sse import MEDIA_TYPE, EventStream, message
from astromesh_gateway.stored_runs import StoredRuns, is_unsettled

router = APIRouter(prefix="/v1/runs", tags=["runs"])

StatusName = Literal[
    "queued",
    "running",
    "suspended",
    "needs-human",
    "needs-version",
    "completed",
    "failed",
    "compensated",
    "cancelled",
]
_STATUSES: dict[str, RunStatus.ValueType] = {name: status for status, name in STATUS_NAMES.items()}


class RunPage(TypedDict):
    """Runs, newest first; `next_page_token` is empty on the last page."""

    runs: list[RunRecord]
    next_page_token: str


class EventReply(TypedDict):
    """A stored event, its contents fetched. `event` is the body by the names of the contract."""

    index: int
    position: str
    type: str
    time: str
    producer: str
    event: dict[str, JsonValue]
    signal_id: str


class EventPage(TypedDict):
    """Events in order; `next_page_token` is empty on the last page."""

    run_id: str
    events: list[EventReply]
    next_page_token: str


class ResultReply(TypedDict):
    """What a tool answered. `cut`: a model read the beginning of it alone."""

    run_id: str
    path: str
    tool: str
    cut: bool
    characters: int
    output: str


class VerifyReply(TypedDict):
    """Whether the hash chain holds, else the first index at which it does not, and why."""

    run_id: str
    ok: bool
    events: int
    broken_at: int | None
    reason: str


class DifferenceReply(TypedDict):
    """Where a replay first differs from what is recorded."""

    index: int
    path: str
    recorded: str
    replayed: str


class ReplayReply(TypedDict):
    """Whether re-executing the run from its recorded outcomes gives the same events."""

    run_id: str
    identical: bool
    verdict: str
    events: int
    duration_ms: float
    difference: DifferenceReply | None


class RunQuery(BaseModel):
    """Which runs are wanted."""

    model_config = ConfigDict(extra="forbid")

    agent: str = ""
    session: str = Field(default="", description="As it was named; needs `agent`.")
    status: StatusName | None = None
    since: datetime | None = Field(default=None, alias="from", description="Requested at or after (ISO 8601).")
    until: datetime | None = Field(default=None, description="Requested before (ISO 8601).")
    text: str = Field(default="", description="Words in the question or the answer.")
    page_size: int = Field(default=50, ge=1, le=1000)
    page_token: str = ""


@router.get("", summary="List and search runs", responses=errors(400, 422, 503))
async def list_runs(caller: Viewer, gateway: TheGateway, asked: Annotated[RunQuery, Query()]) -> RunPage:
    """Runs of the namespace, newest first."""
    if asked.session and not asked.agent:
        raise InvalidInput("a session belongs to an agent: name the agent too")
    key = session_key(gateway.mesh_key, caller.namespace, asked.agent, asked.session) if asked.session else ""
    wanted = RunFilter(
        agent=asked.agent,
        session_key=key,
        status=_STATUSES[asked.status] if asked.status else RUN_STATUS_UNSPECIFIED,
        from_unix_nano=unix_nano(asked.since),
        until_unix_nano=unix_nano(asked.until),
        text=asked.text,
    )
    runs, following = await StoredRuns(gateway, caller).list(wanted, asked.page_size, asked.page_token)
    return RunPage(runs=[run_record(run) for run in runs], next_page_token=following)


@router.get(
    "/{run_id}",
    summary="A run as it stands",
    responses=errors(400, 404, 503),
)
async def get_run(run_id: str, caller: Viewer, gateway: TheGateway) -> RunRecord:
    """Answers from the moment the id was given out."""
    return run_record(await reviewed(gateway, caller, run_id))


@router.get(
    "/{run_id}/events",
    summary="A run's events",
    response_model=EventPage,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}},
        204: {"description": "The run has ended and everything was received: an EventSource stops asking."},
        **errors(400, 404, 503),
    },
)
async def get_events(
    request: Request,
    run_id: str,
    caller: Viewer,
    gateway: TheGateway,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str, Query(pattern=r"^[0-9]*$")] = "",
    last_event_id: Annotated[str, Header(description="Resume after this event.")] = "",
) -> Response:
    """JSON pages, or with `Accept: text/event-stream` a stream until the run ends: every event once, resumable."""
    stored = StoredRuns(gateway, caller)
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return await _stream(stored, gateway, caller.namespace, run_id, _last_index(last_event_id))
    events = await stored.events(run_id)
    first = int(page_token or 0)
    page = events[first : first + page_size]
    following = str(first + page_size) if first + page_size < len(events) else ""
    replies = [await _event_reply(gateway, event) for event in page]
    body = EventPage(run_id=run_id, events=replies, next_page_token=following)
    return Response(orjson.dumps(body), media_type="application/json")


@router.get("/{run_id}/results/{path}", summary="A tool's whole result", responses=errors(400, 404, 503))
async def get_result(run_id: str, path: str, caller: Viewer, gateway: TheGateway) -> ResultReply:
    """What the tool answered at a step of the run: all of it, where a model read only the beginning."""
    step, output = await StoredRuns(gateway, caller).result(run_id, path)
    return ResultReply(
        run_id=run_id, path=path, tool=step.name, cut=step.HasField("whole"), characters=len(output), output=output
    )


@router.post("/{run_id}/cancel", summary="Cancel a run", responses={202: {}, **errors(400, 404, 422, 503)})
async def cancel_run(
    response: Response, run_id: str, caller: User, gateway: TheGateway, body: CancelBody | None = None
) -> RunRecord:
    """200 with the run once it has ended; 202 where its owner has not come to it within five seconds."""
    run = await StoredRuns(gateway, caller).cancel(run_id, body.reason if body else "")
    response.status_code = 200 if run.status in TERMINAL else 202
    return run_record(run)


@router.post(
    "/{run_id}/resolve", summary="Settle an unknown step", responses={202: {}, **errors(400, 404, 409, 422, 503)}
)
async def resolve_step(
    response: Response, run_id: str, body: ResolveBody, caller: User, gateway: TheGateway
) -> RunRecord:
    """Says what became of a step whose outcome is unknown, or whether one that could not be undone is; the run then
    goes on."""
    outcome = RESOLVED_OUTCOME_SUCCEEDED if body.outcome == "succeeded" else RESOLVED_OUTCOME_FAILED
    stored = StoredRuns(gateway, caller)
    run = await stored.resolve(run_id, body.path, outcome, body.result)
    response.status_code = 202 if is_unsettled(run, body.path) else 200
    return run_record(run)


@router.post("/{run_id}/feedback", summary="Rate a run", responses=errors(400, 404, 409, 422, 503, 504))
async def rate_run(run_id: str, body: FeedbackBody, caller: User, gateway: TheGateway) -> RunRecord:
    """Says of a run that has ended how good it was. A caller's later word stands in place of its earlier one."""
    return run_record(await give_feedback(gateway, caller, run_id, body.rating, body.comment))


@router.post("/{run_id}/verify", summary="Verify the hash chain", responses=errors(400, 404, 503))
async def verify_run(run_id: str, caller: Viewer, gateway: TheGateway) -> VerifyReply:
    """Checks that no event is missing, added or changed."""
    verdict = await StoredRuns(gateway, caller).verify(run_id)
    return VerifyReply(
        run_id=run_id, ok=verdict.ok, events=verdict.events, broken_at=verdict.broken_at, reason=verdict.reason
    )


@router.post("/{run_id}/replay", summary="Re-execute a run", responses=errors(400, 404, 503, 504))
async def replay_run(run_id: str, caller: Viewer, gateway: TheGateway) -> ReplayReply:
    """Feeds the recorded outcomes to a fresh execution: no service is called, and no model."""
    response = await StoredRuns(gateway, caller).replay(run_id)
    found = response.difference
    difference = DifferenceReply(index=found.index, path=found.path, recorded=found.recorded, replayed=found.replayed)
    return ReplayReply(
        run_id=run_id,
        identical=response.identical,
        verdict="identical" if response.identical else "different",
        events=response.events,
        duration_ms=response.duration_nano / 1e6,
        difference=difference if response.HasField("difference") else None,
    )


async def _stream(stored: StoredRuns, gateway: Gateway, namespace: str, run_id: str, after: int) -> Response:
    last, ended = await stored.last_index(run_id)
    if after > last:
        raise InvalidInput(f"Last-Event-ID {after} is beyond the run's last event, {last}")
    if ended and after == last:
        return Response(status_code=204)
    async with AsyncExitStack() as stack:
        watched = gateway.following.watched(run_aggregate(namespace, run_id), after)
        parts = await stack.enter_async_context(watched)
        chunks: AsyncIterator[bytes] = (message(update) async for update in updates(parts, run_id))
        return EventStream(chunks, stack.pop_all(), run_headers(run_id), draining=gateway.draining)


async def _event_reply(gateway: Gateway, event: StoredEvent) -> EventReply:
    envelope = event.envelope
    await gateway.bus.values.resolve_all(envelope)
    kind = envelope.run.WhichOneof("event") or ""
    # What the run's digests are made with identifies nothing and is nobody's business.
    if kind == "requested":
        envelope.run.requested.ClearField("digest_key")
    body = MessageToDict(envelope.run, preserving_proto_field_name=True)
    return EventReply(
        index=envelope.index,
        position=f"{envelope.aggregate_id}:{envelope.index}",
        type=kind,
        time=moment(envelope.time_unix_nano),
        producer=envelope.producer,
        event=cast("dict[str, JsonValue]", body.get(kind, {})),
        signal_id=envelope.signal_id,
    )


def _last_index(last_event_id: str) -> int:
    if not last_event_id:
        return -1
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10):
        raise InvalidInput(f"Last-Event-ID {last_event_id[:80]!r} is none that this stream gave out")
    return int(last_event_id)
