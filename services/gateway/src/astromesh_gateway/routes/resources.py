"""/v1/resources: every kind alike, with the table that `astromesh get` prints. Agents have paths of their own too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NotRequired

from fastapi import APIRouter, Request, Response
from typing_extensions import TypedDict

from astromesh.v1.control_pb2 import ResourceRecord, ResourceStatus
from astromesh.v1.rag_pb2 import ListPipelinesRequest
from astromesh_core.bus.resource_store import OWNERS
from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.candidates import target_of
from astromesh_core.resources.columns import PLURALS, Observed, cells, headings, refused_cells
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_core.resources.resource import Resource, stored_resource
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.access import Admin, TheGateway, Viewer
from astromesh_gateway.bodies import read_bytes
from astromesh_gateway.documentation import errors
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.resource_edits import ResourceEdits
from astromesh_gateway.routes.agents import AgentReply, agent_reply, edit_documentation, is_yaml, refused_reply

router = APIRouter(prefix="/v1/resources", tags=["resources"])

_Figures = Mapping[str, Mapping[str, int]]


class ResourceReply(AgentReply):
    """A resource: what is declared, who manages it, what is observed of it, and its line under `columns`."""

    kind: str
    cells: list[str]


class ResourceTable(TypedDict):
    """The resources of a kind in a namespace, by name. `refused_files`: files of which not even that much could be
    read, and why."""

    kind: str
    columns: list[str]
    resources: list[ResourceReply]
    refused_files: NotRequired[list[str]]


@router.get("/{kind}", summary="List resources", responses=errors(404, 503))
async def list_resources(kind: str, caller: Viewer, gateway: TheGateway) -> ResourceTable:
    """`kind` as on a command line: `agents`, `Agent`, `ragpipelines` …"""
    known, namespace, directory = _kind(kind), caller.namespace, gateway.directory
    figures = await _figures(gateway, known, namespace)
    replies = [_reply(gateway, record, figures) for record in directory.records(known, namespace)]
    replies += [_refused(status) for status in directory.never_good(known, namespace)]
    replies.sort(key=lambda reply: reply["name"])
    table = ResourceTable(kind=known, columns=headings(known), resources=replies)
    if refused := directory.refused_files(namespace):
        table["refused_files"] = refused
    return table


@router.get("/{kind}/{name}", summary="A resource", responses=errors(404, 503))
async def get_resource(kind: str, name: str, caller: Viewer, gateway: TheGateway) -> ResourceReply:
    """The resource as it is stored; or as it is refused, where no version of it was ever good."""
    known = _kind(kind)
    refused = gateway.directory.never_good(known, caller.namespace)
    if status := next((status for status in refused if status.ref.name == name), None):
        return _refused(status)
    record = gateway.directory.record(known, caller.namespace, name)
    return _reply(gateway, record, await _figures(gateway, known, caller.namespace))


@router.put(
    "/{kind}/{name}",
    summary="Create or replace a resource",
    responses={201: {"description": "It is new."}, **errors(400, 404, 409, 422, 503)},
    openapi_extra=edit_documentation(),
)
async def put_resource(
    request: Request, response: Response, kind: str, name: str, caller: Admin, gateway: TheGateway
) -> ResourceReply:
    """Stores the resource. What a file or Kubernetes manages is changed there: 409."""
    known = _kind(kind)
    edits = _edits(gateway, known, caller)
    resource = edits.read(await read_bytes(request), yaml=is_yaml(request))
    if resource.name != name:
        raise InvalidInput(f"the body declares {resource.name!r}, the path says {name[:80]!r}; they must agree")
    try:
        record = await edits.replace(resource, None)
    except NotFound:
        record = await edits.create(resource)
        response.status_code = 201
    # Not yet counted: a pipeline's figures follow once the rag service has seen it.
    return _reply(gateway, record, {})


@router.delete(
    "/{kind}/{name}",
    status_code=204,
    response_class=Response,
    summary="Delete a resource",
    responses=errors(404, 409, 503),
)
async def delete_resource(kind: str, name: str, caller: Admin, gateway: TheGateway) -> None:
    """Removes the resource. Runs that have started keep what they started with."""
    await _edits(gateway, _kind(kind), caller).delete(name)


def _kind(word: str) -> str:
    kind = PLURALS.get(word.lower())
    if kind is None:
        hint = did_you_mean(word.lower(), PLURALS) or "one of " + ", ".join(name for name in PLURALS if name[-1] == "s")
        raise NotFound(f"{word[:80]!r} is no kind of resource; {hint}")
    return kind


def _edits(gateway: Gateway, kind: str, caller: Caller) -> ResourceEdits:
    return ResourceEdits(gateway.bus.resources, gateway.directory, kind, caller.namespace)


async def _figures(gateway: Gateway, kind: str, namespace: str) -> _Figures:
    """What only the rag service knows of its pipelines."""
    if kind != "RAGPipeline":
        return {}
    try:
        answer = await gateway.services.rag.ListPipelines(ListPipelinesRequest(namespace=namespace))
    except Unavailable:
        if "rag" not in gateway.directory.switched_off():
            raise
        # Nobody counts what nobody serves; the pipelines' conditions say so.
        return {}
    return {
        state.name: {
            "documents": state.documents,
            "chunks": state.chunks,
            "last_ingested_unix_seconds": state.last_ingested_unix_nano // 1_000_000_000,
        }
        for state in answer.pipelines
    }


def _reply(gateway: Gateway, record: ResourceRecord, figures: _Figures) -> ResourceReply:
    described = agent_reply(record, gateway.directory.status(record))
    key = ResourceKey(record.ref.kind, record.ref.namespace, record.ref.name)
    resource = stored_resource(key, record.spec_json, record.metadata_json, OWNERS[record.managed_by])
    observed = Observed(
        resource=resource,
        ready=bool(described["ready"]),
        created=datetime.fromtimestamp(record.created_unix_nano / 1e9, UTC),
        now=datetime.now(UTC),
        figures=figures.get(record.ref.name, {}),
        model=_model_of(gateway, resource),
    )
    return ResourceReply(**described, kind=record.ref.kind, cells=cells(observed))


def _model_of(gateway: Gateway, resource: Resource) -> str:
    """The model that an agent's Provider leads to, where the agent names no more than that."""
    if not isinstance(resource.spec, AgentSpec):
        return ""
    first = resource.spec.model.first
    if first.model or not first.provider_ref:
        return ""
    provider = refer("Provider", first.provider_ref, resource.namespace)
    for record in gateway.directory.records("Provider", provider.namespace):
        if record.ref.name == provider.name:
            return target_of(first, ProviderSpec.model_validate_json(record.spec_json)).model
    return ""


def _refused(status: ResourceStatus) -> ResourceReply:
    kind, described = status.ref.kind, refused_reply(status)
    since = datetime.fromisoformat(described["created_at"])
    return ResourceReply(**described, kind=kind, cells=refused_cells(kind, status.ref.name, datetime.now(UTC) - since))
