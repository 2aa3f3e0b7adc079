"""From a stored run to a fork of it: another run that shares its past, with what is changed of it."""

from __future__ import annotations

from typing import cast

import orjson
from pydantic import Field, JsonValue, ValidationError

from astromesh.v1.run_events_pb2 import SURFACE_HTTP, Fork, ForkedResult, RunRequested, RunStarted
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import Conflict, InvalidInput, NotFound
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.problems import dotted
from astromesh_core.resources.secrets import SECRET_HINT, exposed_secrets
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.auth import require
from astromesh_gateway.bodies import Body
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.stored_runs import StoredRuns


class ForkBody(Body):
    """What a fork shares, and what is changed of it. Tools that change the world are simulated unless it is `live`."""

    at: int | None = Field(
        default=None, ge=0, description="The last event that is shared; else all edited results, or 0."
    )
    query: str = Field(default="", description="Another question.")
    prompt: str = Field(default="", description="Another system prompt (Jinja2). Needs the role admin.")
    model: dict[str, JsonValue] | None = Field(
        default=None,
        description="Another model: fields of spec.model.primary, put over the agent's own. Needs the role admin.",
        examples=[{"model": "llama3.2:3b"}],
    )
    agent_version: str = Field(
        default="recorded", pattern="^(recorded|current)$", description="The one that the run had, or the newest."
    )
    tool_results: dict[str, str] = Field(
        default={},
        max_length=100,
        description="By path: what a tool is said to have answered.",
        examples=[{"2.1": "42"}],
    )
    live: bool = False


class Forks:
    """Prepares forks for one caller."""

    def __init__(self, gateway: Gateway, caller: Caller) -> None:
        self._gateway = gateway
        self._caller = caller

    async def prepare(self, run_id: str, body: ForkBody, traceparent: str = "") -> PreparedRun:
        """The fork, to be admitted. Raises NotFound, InvalidInput, Conflict for a run that never began, Denied."""
        if body.prompt or body.model:
            require(self._caller, "admin")
        events = await StoredRuns(self._gateway, self._caller).events(run_id)
        for event in events:
            await self._gateway.bus.values.resolve_all(event.envelope)
        requested, started = _beginning(run_id, events)
        fork = Fork(run_id=run_id, index=_index(run_id, events, body), live=body.live)
        fork.agent.CopyFrom(await self._agent(requested, started, body))
        fork.results.extend(
            ForkedResult(path=path, output=text_content(text)) for path, text in sorted(body.tool_results.items())
        )
        prepared = self._gateway.admission.prepare(_asked(self._caller, requested, body.query, traceparent))
        prepared.event.fork.CopyFrom(fork)
        return prepared

    async def _agent(self, requested: RunRequested, started: RunStarted, body: ForkBody) -> ResourceRef:
        ref = started.agent
        if body.agent_version == "current":
            record = await self._gateway.bus.resources.get("Agent", self._caller.namespace, requested.agent)
            if record is None:
                raise NotFound(f"there is no agent {requested.agent!r} any more; fork its recorded version")
            ref = record.ref
        if not (body.prompt or body.model):
            return ref
        spec = cast("dict[str, JsonValue]", orjson.loads(await self._gateway.bus.resources.by_hash(ref)))
        if body.prompt:
            spec["prompts"] = {**cast("dict[str, JsonValue]", spec.get("prompts") or {}), "system": body.prompt}
        if body.model:
            primary = AgentSpec.model_validate(spec).model.first.model_dump(mode="json", exclude_defaults=True)
            # Another provider has settings of its own.
            kept = {} if body.model.keys() & {"provider", "provider_ref", "providerRef"} else primary
            spec["model"] = {"primary": {**kept, **body.model}}
        edited = _checked(spec)
        stored = await self._gateway.bus.values.put(edited.encode())
        return ResourceRef(kind=ref.kind, namespace=ref.namespace, name=ref.name, sha256=stored.sha256)


def _beginning(run_id: str, events: list[StoredEvent]) -> tuple[RunRequested, RunStarted]:
    started = next((event.envelope.run.started for event in events if event.envelope.run.HasField("started")), None)
    if started is None:
        raise Conflict(f"run {run_id} never began: there is nothing to share")
    return events[0].envelope.run.requested, started


def _index(run_id: str, events: list[StoredEvent], body: ForkBody) -> int:
    if body.at is not None:
        if body.at >= len(events):
            raise InvalidInput(f"run {run_id} has the events 0 to {len(events) - 1}")
        return body.at
    index = 0
    for event in events:
        run = event.envelope.run
        path = run.tool_succeeded.path or run.tool_failed.path
        if path in body.tool_results:
            index = event.index
    return index


def _asked(caller: Caller, requested: RunRequested, query: str, traceparent: str) -> AskedRun:
    context = plain(requested.context)
    return AskedRun(
        caller=caller,
        agent=requested.agent,
        query=query or plain(requested.query),
        user=plain(requested.user),
        context=orjson.loads(context) if context else {},
        surface=SURFACE_HTTP,
        images=tuple(requested.images),
        output_schema_json=requested.output_schema_json,
        transcript=tuple(requested.transcript),
        # What the session remembered then is shared; nobody remembers a fork.
        uses_memory=False,
        traceparent=traceparent,
    )


def _checked(spec: dict[str, JsonValue]) -> str:
    for path in exposed_secrets(spec):
        raise InvalidInput(f"the edited agent is none: spec.{dotted(path)} holds a secret itself: {SECRET_HINT}")
    text = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS).decode()
    try:
        AgentSpec.from_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(f"the edited agent is none: spec.{dotted(first['loc'])} {first['msg']}") from error
    return text
