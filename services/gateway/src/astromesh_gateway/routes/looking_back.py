"""/v1/runs/{run_id}/at/{index}, …/fork, …/diff/{other}: a run as it stood, another one from there, two compared."""

from __future__ import annotations

from typing import Annotated, NotRequired

from fastapi import APIRouter, Path, Response
from typing_extensions import TypedDict

from astromesh.v1.run_events_pb2 import ContextAssembled
from astromesh.v1.runtime_pb2 import ReadPromptRequest, ReadPromptResponse
from astromesh_core.errors import InvalidInput
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.comparing import DiffReply, compare
from astromesh_gateway.documentation import errors
from astromesh_gateway.following import CheckedFolder
from astromesh_gateway.forking import ForkBody, Forks
from astromesh_gateway.memory.replies import EpisodeReply, MemoryReply, episode_reply, memory_reply
from astromesh_gateway.messages import MessageReply, message_reply
from astromesh_gateway.replies import RunRecord, SourceReply, run_record, source_reply
from astromesh_gateway.routes.running import run_headers
from astromesh_gateway.shown import moment, shown
from astromesh_gateway.stored_runs import REPLAY_SECONDS, StoredRuns

router = APIRouter(prefix="/v1/runs", tags=["runs"])


class PromptReply(TypedDict):
    """What the last model call begun by then was sent, word by word: made again from the log by running the saga."""

    path: str
    role: str
    messages: list[MessageReply]
    tools: list[str]
    output_schema: NotRequired[str]


class ContextReply(TypedDict):
    """What the run knew beside its question: what its session remembered, and what was retrieved."""

    history: list[MessageReply]
    summary: NotRequired[str]
    passages: list[SourceReply]
    memories: list[MemoryReply]
    episodes: list[EpisodeReply]


class MomentReply(TypedDict):
    """A run as it stood once an event was stored: steps, spend and status of `run` are those of then."""

    run_id: str
    index: int
    type: str
    time: str
    run: RunRecord
    prompt: PromptReply | None
    context: ContextReply | None


class ForkReply(TypedDict):
    """A fork that was admitted."""

    run_id: str
    agent: str
    status: str
    forked_from: str
    at: int


@router.get("/{run_id}/at/{index}", summary="A run as it stood", responses=errors(400, 404, 409, 501, 503))
async def show_moment(
    run_id: str, index: Annotated[int, Path(ge=0)], caller: Viewer, gateway: TheGateway
) -> MomentReply:
    """The state at an event: the prompt as it was sent, memory, tools, spend."""
    events = await StoredRuns(gateway, caller).events(run_id)
    if index >= len(events):
        raise InvalidInput(f"run {run_id} has the events 0 to {len(events) - 1}")
    folder, context, offered = CheckedFolder(), None, list[str]()
    for event in events[: index + 1]:
        folder.apply(event.envelope)
        if event.envelope.run.HasField("context_assembled"):
            context = event.envelope.run.context_assembled
        elif event.envelope.run.HasField("started"):
            offered = [tool.name for tool in event.envelope.run.started.tools]
    last = events[index].envelope
    for message in (folder.run, *([context] if context is not None else [])):
        await gateway.bus.values.resolve_all(message)
    request = ReadPromptRequest(namespace=caller.namespace, run_id=run_id, index=index)
    prompt = await gateway.services.runtime.ReadPrompt(request, timeout=REPLAY_SECONDS)
    return MomentReply(
        run_id=run_id,
        index=index,
        type=last.run.WhichOneof("event") or "",
        time=moment(last.time_unix_nano),
        run=run_record(folder.run),
        prompt=_prompt(prompt, offered) if prompt.path else None,
        context=_context(context) if context is not None else None,
    )


@router.post(
    "/{run_id}/fork", status_code=202, summary="Fork a run", responses=errors(400, 403, 404, 409, 422, 429, 503)
)
async def fork_run(response: Response, run_id: str, body: ForkBody, caller: User, gateway: TheGateway) -> ForkReply:
    """Another run that shares this one's past, with another question, prompt, model, tool result or agent version.

    What its tools would change is simulated unless it is `live`; nothing of it is remembered. Follow it at its events.
    """
    prepared = await Forks(gateway, caller).prepare(run_id, body)
    await gateway.admission.admit(prepared)
    response.headers.update(run_headers(prepared.run_id))
    fork = prepared.event.fork
    return ForkReply(
        run_id=prepared.run_id, agent=prepared.event.agent, status="queued", forked_from=run_id, at=fork.index
    )


@router.get("/{run_id}/diff/{other}", summary="Compare two runs", responses=errors(400, 404, 503))
async def diff_runs(run_id: str, other: str, caller: Viewer, gateway: TheGateway) -> DiffReply:
    """Step by step, by their paths: what they asked for, what came of it, and what it cost."""
    stored = StoredRuns(gateway, caller)
    return compare(await stored.run(run_id), await stored.run(other))


def _prompt(prompt: ReadPromptResponse, offered: list[str]) -> PromptReply:
    reply = PromptReply(
        path=prompt.path,
        role=prompt.role,
        messages=[message_reply(message) for message in prompt.messages],
        tools=offered if prompt.offers_tools else [],
    )
    if prompt.output_schema_json:
        reply["output_schema"] = prompt.output_schema_json
    return reply


def _context(context: ContextAssembled) -> ContextReply:
    reply = ContextReply(
        history=[message_reply(message) for message in context.history],
        passages=[source_reply(passage) for passage in context.passages],
        memories=[memory_reply(passage) for passage in context.memories],
        episodes=[episode_reply(episode) for episode in context.episodes],
    )
    if context.HasField("summary"):
        reply["summary"] = shown(context.summary)
    return reply
