"""/v1/tools: what agents may call, and calling one by hand, outside any run."""

from __future__ import annotations

import asyncio
import secrets
from typing import NotRequired, cast

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import JsonValue
from typing_extensions import TypedDict

from astromesh.v1.tools_pb2 import DescribeToolsRequest, ExecuteToolRequest
from astromesh.v1.values_pb2 import ResourceRef, ToolCall, ToolEffectKind, ToolSpec
from astromesh_core.errors import ERRORS, AstromeshError, Bug, Conflict, NotFound
from astromesh_core.events.canonical import catalogue_sha256
from astromesh_core.events.contents import text_content
from astromesh_core.resources.builtin_tools import BUILTINS
from astromesh_core.resources.tool_controls import ToolControls
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.agents_called import call_agent
from astromesh_gateway.approvals import require_approver
from astromesh_gateway.bodies import ToolCallBody
from astromesh_gateway.documentation import errors
from astromesh_gateway.failures import problem_response
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import SourceReply, source_reply
from astromesh_gateway.shown import shown

router = APIRouter(prefix="/v1/tools", tags=["tools"])

_HUMAN = ("approval", "approval_timeout_seconds", "approval_role", "reconcile", "compensate")
_BOUNDS = (*ToolControls.model_fields, *_HUMAN, "isolation")

EXECUTE_SECONDS = 300.0
"""Longest that a call by hand may take; the tool's own timeout is shorter as a rule."""


class OriginReply(TypedDict):
    """Where a tool comes from that a server offers: the entry of the agent's file, its name and version there."""

    entry: str
    name: str
    version: str


class ToolReply(TypedDict):
    """A tool of an agent. `version` is another where its name, description, schema or effect is; `declared` is what the
    agent's file says of its bounds."""

    agent: str
    name: str
    type: str
    description: str
    effect: str
    timeout_ms: int
    version: str
    parameters: dict[str, JsonValue]
    declared: NotRequired[dict[str, JsonValue]]
    origin: NotRequired[OriginReply]


class Untold(TypedDict):
    """An agent whose tools nobody can tell at the moment, and why."""

    agent: str
    reason: str


class ToolList(TypedDict):
    """Tools by agent, in the order of their YAML. `untold` are agents that are left out of a list of all."""

    tools: list[ToolReply]
    count: int
    untold: NotRequired[list[Untold]]


class BuiltinReply(TypedDict):
    """A tool that comes with Astromesh. `config` is the JSON Schema of what an agent's file may say of it."""

    name: str
    description: str
    effect: str
    parameters: dict[str, JsonValue]
    config: dict[str, JsonValue]


class BuiltinList(TypedDict):
    """The tools that an agent may declare with `type: builtin`."""

    tools: list[BuiltinReply]
    count: int


class ToolResultReply(TypedDict):
    """What a tool answered. `ok` is false where the tool itself says that it could not."""

    agent: str
    tool: str
    ok: bool
    result: JsonValue
    duration_ms: float
    sources: NotRequired[list[SourceReply]]


@router.get("", summary="List tools", responses=errors(404, 503))
async def list_tools(caller: Viewer, gateway: TheGateway, agent: str = "") -> ToolList:
    """The tools of one agent, or of every agent of the namespace."""
    if agent:
        ref = gateway.directory.record("Agent", caller.namespace, agent).ref
        tools = [_tool_reply(agent, spec) for spec in await _described(gateway, ref)]
        return ToolList(tools=tools, count=len(tools))
    known, untold = await _known(gateway, caller)
    tools = [_tool_reply(ref.name, spec) for ref, specs in known for spec in specs]
    listed = ToolList(tools=tools, count=len(tools))
    if untold:
        listed["untold"] = untold
    return listed


@router.get("/builtin", summary="List built-in tools")
async def list_builtin_tools(caller: Viewer) -> BuiltinList:
    """The tools that any agent may declare with `type: builtin`."""
    tools = [
        BuiltinReply(
            name=name,
            description=builtin.description,
            effect="read",
            parameters=builtin.parameters,
            config=builtin.config.model_json_schema(),
        )
        for name, builtin in BUILTINS.items()
    ]
    return BuiltinList(tools=tools, count=len(tools))


@router.get("/{agent}/{tool_name}", summary="A tool of an agent", responses=errors(404, 503))
async def describe_tool(agent: str, tool_name: str, caller: Viewer, gateway: TheGateway) -> ToolReply:
    """As a model is told of it, and how the agent's file bounds it."""
    record = gateway.directory.record("Agent", caller.namespace, agent)
    specs = await _described(gateway, record.ref)
    spec = next((spec for spec in specs if spec.name == tool_name), None)
    if spec is None:
        names = ", ".join(spec.name for spec in specs) or "none"
        raise NotFound(f"agent {agent!r} has no tool {tool_name[:80]!r}; its tools: {names}")
    reply = _tool_reply(agent, spec)
    reply["declared"] = _declared(record.spec_json, spec)
    return reply


@router.post(
    "/execute",
    summary="Call a tool",
    response_model=ToolResultReply,
    responses=errors(400, 404, 409, 422, 501, 503, 504),
)
async def execute_tool(request: Request, body: ToolCallBody, caller: User, gateway: TheGateway) -> Response:
    """Calls a tool once, never again. Where no definite answer came (504, 503), nobody knows whether it acted."""
    ref, spec = await _owner(gateway, caller, body)
    record = gateway.directory.record("Agent", caller.namespace, ref.name)
    require_approver(caller, _declared(record.spec_json, spec), body.arguments)
    call_id = request.headers.get("idempotency-key", "") or secrets.token_hex(16)
    call = ToolCall(id=call_id, name=body.tool_name, arguments=text_content(orjson.dumps(body.arguments).decode()))
    if spec.agent:
        response = await call_agent(gateway, caller, spec, call, call_id)
    else:
        executed = ExecuteToolRequest(agent=ref, call=call, idempotency_key=call_id)
        response = await gateway.services.tools.ExecuteTool(executed, timeout=EXECUTE_SECONDS)
    if response.HasField("failure"):
        failure = response.failure
        wait = failure.retry_after_ms / 1000 or None
        error = ERRORS.get(failure.error_class, Bug)(shown(failure.message), retry_after=wait)
        return problem_response(error, request.url.path)
    reply = ToolResultReply(
        agent=ref.name,
        tool=body.tool_name,
        ok=not response.result.is_error,
        result=_parsed(shown(response.result.output)),
        duration_ms=response.timing.duration_nano / 1e6,
    )
    if response.result.passages:
        reply["sources"] = [source_reply(passage) for passage in response.result.passages]
    return Response(orjson.dumps(reply), media_type="application/json")


async def _known(gateway: Gateway, caller: Caller) -> tuple[list[tuple[ResourceRef, list[ToolSpec]]], list[Untold]]:
    """The tools of every agent of the namespace. One that cannot be asked hides no other's."""
    refs = [record.ref for record in gateway.directory.records("Agent", caller.namespace)]
    answers = await asyncio.gather(*(_described(gateway, ref) for ref in refs), return_exceptions=True)
    known, untold = list[tuple[ResourceRef, list[ToolSpec]]](), list[Untold]()
    for ref, answer in zip(refs, answers, strict=True):
        if isinstance(answer, AstromeshError):
            untold.append(Untold(agent=ref.name, reason=answer.message))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            known.append((ref, answer))
    return known, untold


async def _described(gateway: Gateway, ref: ResourceRef) -> list[ToolSpec]:
    return list((await gateway.services.tools.DescribeTools(DescribeToolsRequest(agent=ref))).tools)


async def _owner(gateway: Gateway, caller: Caller, body: ToolCallBody) -> tuple[ResourceRef, ToolSpec]:
    if body.agent:
        ref = gateway.directory.record("Agent", caller.namespace, body.agent).ref
        known = [(ref, await _described(gateway, ref))]
    else:
        known, _ = await _known(gateway, caller)
    owners = [(ref, spec) for ref, specs in known for spec in specs if spec.name == body.tool_name]
    if not owners:
        whose = f"agent {body.agent!r}" if body.agent else "no agent of this namespace"
        raise NotFound(f"{whose} has {'no' if body.agent else 'a'} tool {body.tool_name[:80]!r}")
    if len(owners) > 1:
        raise Conflict(
            f"several agents have a tool {body.tool_name!r}: name one of {', '.join(ref.name for ref, _ in owners)}"
        )
    return owners[0]


def _tool_reply(agent: str, spec: ToolSpec) -> ToolReply:
    reply = ToolReply(
        agent=agent,
        name=spec.name,
        type=spec.type,
        description=spec.description,
        effect=ToolEffectKind.Name(spec.effect).removeprefix("TOOL_EFFECT_KIND_").lower(),
        timeout_ms=spec.timeout_ms,
        version=catalogue_sha256([spec]).hex()[:12],
        parameters=cast("dict[str, JsonValue]", orjson.loads(spec.parameters_json or "{}")),
    )
    if spec.HasField("origin"):
        reply["origin"] = OriginReply(entry=spec.origin.entry, name=spec.origin.name, version=spec.origin.version)
    return reply


def _declared(spec_json: str, spec: ToolSpec) -> dict[str, JsonValue]:
    entry = spec.origin.entry or spec.name
    tools: list[dict[str, JsonValue]] = orjson.loads(spec_json).get("tools", [])
    return {name: tool[name] for tool in tools if tool.get("name") == entry for name in _BOUNDS if name in tool}


def _parsed(text: str) -> JsonValue:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
