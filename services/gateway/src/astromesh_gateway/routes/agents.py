"""/v1/agents: agents as resources. A change here is a change of a resource that the API manages."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, cast

import orjson
from fastapi import APIRouter, Header, Request, Response
from pydantic import JsonValue
from typing_extensions import TypedDict

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ConditionStatus, ResourceRecord, ResourceStatus
from astromesh_core.bus.resource_store import OWNERS
from astromesh_core.errors import InvalidInput
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.access import Admin, TheGateway, Viewer
from astromesh_gateway.bodies import read_bytes
from astromesh_gateway.documentation import errors
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.resource_edits import ResourceEdits
from astromesh_gateway.shown import moment

router = APIRouter(prefix="/v1/agents", tags=["agents"])

_KIND = "Agent"
_EXAMPLE: dict[str, Any] = {
    "apiVersion": "astromesh/v1",
    "kind": "Agent",
    "metadata": {"name": "greeter"},
    "spec": {
        "model": {"primary": {"provider": "ollama", "model": "llama3.2"}},
        "prompts": {"system": "You greet people."},
        "orchestration": {"pattern": "react", "max_iterations": 4},
    },
}
_DOCUMENTED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}


class ConditionReply(TypedDict):
    """One thing that was observed."""

    type: str
    status: str
    reason: str
    message: str
    last_transition: NotRequired[str]


class AgentReply(TypedDict):
    """An agent: what is declared, who manages it, and what is observed of it.

    One of which no version was ever good has generation 0, no spec, and says in `refused_edit` what to mend.
    """

    name: str
    namespace: str
    version: str
    managed_by: str
    generation: int
    sha256: str
    ready: bool | None
    conditions: list[ConditionReply]
    refused_edit: NotRequired[str]
    origin: NotRequired[str]
    created_at: str
    changed_at: str
    spec: dict[str, JsonValue]


class AgentList(TypedDict):
    """The agents of the namespace, by name. `refused_files`: files of which not even a name could be read, and why."""

    agents: list[AgentReply]
    refused_files: NotRequired[list[str]]


@router.get("", summary="List agents", responses=errors())
async def list_agents(caller: Viewer, gateway: TheGateway) -> AgentList:
    """All agents of the namespace, also those that are declared and refused."""
    directory = gateway.directory
    agents = [agent_reply(record, directory.status(record)) for record in directory.records(_KIND, caller.namespace)]
    agents += [refused_reply(status) for status in directory.never_good(_KIND, caller.namespace)]
    reply = AgentList(agents=sorted(agents, key=lambda agent: agent["name"]))
    if refused := directory.refused_files(caller.namespace):
        reply["refused_files"] = refused
    return reply


@router.get("/{name}", summary="An agent", responses=errors(404))
async def get_agent(name: str, caller: Viewer, gateway: TheGateway) -> AgentReply:
    """The agent as it is stored; or as it is refused, where no version of it was ever good."""
    refused = gateway.directory.never_good(_KIND, caller.namespace)
    if status := next((status for status in refused if status.ref.name == name), None):
        return refused_reply(status)
    record = gateway.directory.record(_KIND, caller.namespace, name)
    return agent_reply(record, gateway.directory.status(record))


@router.post(
    "", status_code=201, summary="Create an agent", responses=errors(400, 409, 422, 503), openapi_extra=_DOCUMENTED
)
async def create_agent(request: Request, response: Response, caller: Admin, gateway: TheGateway) -> AgentReply:
    """Stores a new agent. Its conditions follow as services observe it."""
    edits = _edits(gateway, caller)
    record = await edits.create(edits.read(await read_bytes(request), yaml=is_yaml(request)))
    response.headers["Location"] = f"/v1/agents/{record.ref.name}"
    return agent_reply(record, None)


@router.put("/{name}", summary="Replace an agent", responses=errors(400, 404, 409, 422, 503), openapi_extra=_DOCUMENTED)
async def replace_agent(
    request: Request,
    name: str,
    caller: Admin,
    gateway: TheGateway,
    if_match: Annotated[str, Header(description="The generation that is replaced.", pattern=r'^"?[0-9]*"?$')] = "",
) -> AgentReply:
    """Stores a new version; runs that have started keep theirs."""
    edits = _edits(gateway, caller)
    resource = edits.read(await read_bytes(request), yaml=is_yaml(request))
    if resource.name != name:
        raise InvalidInput(f"the body declares {resource.name!r}, the path says {name[:80]!r}; an agent keeps its name")
    expected = if_match.strip('"')
    record = await edits.replace(resource, int(expected) if expected else None)
    return agent_reply(record, gateway.directory.status(record))


@router.delete(
    "/{name}",
    status_code=204,
    response_class=Response,
    summary="Delete an agent",
    responses=errors(404, 409, 503),
)
async def delete_agent(name: str, caller: Admin, gateway: TheGateway) -> None:
    """Removes the agent. Its runs and their events stay."""
    await _edits(gateway, caller).delete(name)


def edit_documentation() -> dict[str, Any]:
    """What OpenAPI says of a body that declares a resource."""
    return _DOCUMENTED


def agent_reply(record: ResourceRecord, status: ResourceStatus | None) -> AgentReply:
    """An agent with what is observed of it."""
    metadata = cast("dict[str, JsonValue]", orjson.loads(record.metadata_json or "{}"))
    reply = AgentReply(
        name=record.ref.name,
        namespace=record.ref.namespace,
        version=str(metadata.get("version", "")),
        managed_by=OWNERS[record.managed_by],
        generation=record.generation,
        sha256=record.ref.sha256.hex(),
        ready=status.ready if status is not None and status.observed_generation == record.generation else None,
        conditions=_conditions(status) if status is not None else [],
        created_at=moment(record.created_unix_nano),
        changed_at=moment(record.changed_unix_nano),
        spec=cast("dict[str, JsonValue]", orjson.loads(record.spec_json)),
    )
    if record.origin:
        reply["origin"] = record.origin
    if status is not None and status.refused_edit:
        reply["refused_edit"] = status.refused_edit
    return reply


def refused_reply(status: ResourceStatus) -> AgentReply:
    """What is declared in a file and was never good: who it is, and what to mend."""
    since = moment(min((condition.last_transition_unix_nano for condition in status.conditions), default=0))
    return AgentReply(
        name=status.ref.name,
        namespace=status.ref.namespace,
        version="",
        managed_by=OWNERS[MANAGED_BY_FILE],
        generation=0,
        sha256="",
        ready=False,
        conditions=_conditions(status),
        refused_edit=status.refused_edit,
        created_at=since,
        changed_at=since,
        spec={},
    )


def _conditions(status: ResourceStatus) -> list[ConditionReply]:
    replies: list[ConditionReply] = []
    for condition in status.conditions:
        name = ConditionStatus.Name(condition.status).removeprefix("CONDITION_STATUS_").capitalize()
        reply = ConditionReply(type=condition.type, status=name, reason=condition.reason, message=condition.message)
        if condition.last_transition_unix_nano:
            reply["last_transition"] = moment(condition.last_transition_unix_nano)
        replies.append(reply)
    return replies


def _edits(gateway: Gateway, caller: Caller) -> ResourceEdits:
    return ResourceEdits(gateway.bus.resources, gateway.directory, _KIND, caller.namespace)


def is_yaml(request: Request) -> bool:
    """Whether a body is YAML; else it is JSON."""
    return "yaml" in request.headers.get("content-type", "")
