"""/v1/tools: what agents may call, and calling one by hand, outside any run."""

from __future__ import annotations

import secrets
from typing import NotRequired, cast

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import JsonValue
from typing_extensions import TypedDict

from astromesh.v1.tools_pb2 import DescribeToolsRequest, ExecuteToolRequest
from astromesh.v1.values_pb2 import ResourceRef, ToolCall, ToolEffectKind, ToolSpec
from astromesh_core.errors import ERRORS, Bug, Conflict, NotFound
from astromesh_core.events.contents import text_content
from astromesh_core.resources.builtin_tools import BUILTINS
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.bodies import ToolCallBody
from astromesh_gateway.documentation import errors
from astromesh_gateway.failures import problem_response
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import SourceReply, shown, source_reply

router = APIRouter(prefix="/v1/tools", tags=["tools"])

EXECUTE_SECONDS = 300.0
"""Longest that a call by hand may take; the tool's own timeout is shorter as a rule."""


class ToolReply(TypedDict):
    """A tool of an agent."""

    agent: str
    name: str
    type: str
    description: str
    effect: str
    timeout_ms: int
    parameters: dict[str, JsonValue]


class ToolList(TypedDict):
    """Tools by agent, in the order of their YAML."""

    tools: list[ToolReply]
    count: int


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
    tools = [
        _tool_reply(ref.name, spec)
        for ref in _agents(gateway, caller, agent)
        for spec in await _described(gateway, ref)
    ]
    return ToolList(tools=tools, count=len(tools))


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


@router.post(
    "/execute",
    summary="Call a tool",
    response_model=ToolResultReply,
    responses=errors(400, 404, 409, 422, 501, 503, 504),
)
async def execute_tool(request: Request, body: ToolCallBody, caller: User, gateway: TheGateway) -> Response:
    """Calls a tool once, never again. Where no definite answer came (504, 503), nobody knows whether it acted."""
    ref = await _owner(gateway, caller, body)
    call_id = request.headers.get("idempotency-key", "") or secrets.token_hex(16)
    call = ToolCall(id=call_id, name=body.tool_name, arguments=text_content(orjson.dumps(body.arguments).decode()))
    executed = ExecuteToolRequest(agent=ref, call=call, idempotency_key=call_id)
    response = await gateway.services.tools.ExecuteTool(executed, timeout=EXECUTE_SECONDS)
    if response.HasField("failure"):
        failure = response.failure
        error = ERRORS.get(failure.error_class, Bug)(shown(failure.message))
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


def _agents(gateway: Gateway, caller: Caller, agent: str) -> list[ResourceRef]:
    if agent:
        return [gateway.directory.record("Agent", caller.namespace, agent).ref]
    return [record.ref for record in gateway.directory.records("Agent", caller.namespace)]


async def _described(gateway: Gateway, ref: ResourceRef) -> list[ToolSpec]:
    return list((await gateway.services.tools.DescribeTools(DescribeToolsRequest(agent=ref))).tools)


async def _owner(gateway: Gateway, caller: Caller, body: ToolCallBody) -> ResourceRef:
    owners = [
        ref
        for ref in _agents(gateway, caller, body.agent)
        if any(spec.name == body.tool_name for spec in await _described(gateway, ref))
    ]
    if not owners:
        whose = f"agent {body.agent!r}" if body.agent else "no agent of this namespace"
        raise NotFound(f"{whose} has {'no' if body.agent else 'a'} tool {body.tool_name[:80]!r}")
    if len(owners) > 1:
        raise Conflict(
            f"several agents have a tool {body.tool_name!r}: name one of {', '.join(ref.name for ref in owners)}"
        )
    return owners[0]


def _tool_reply(agent: str, spec: ToolSpec) -> ToolReply:
    return ToolReply(
        agent=agent,
        name=spec.name,
        type=spec.type,
        description=spec.description,
        effect=ToolEffectKind.Name(spec.effect).removeprefix("TOOL_EFFECT_KIND_").lower(),
        timeout_ms=spec.timeout_ms,
        parameters=cast("dict[str, JsonValue]", orjson.loads(spec.parameters_json or "{}")),
    )


def _parsed(text: str) -> JsonValue:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
