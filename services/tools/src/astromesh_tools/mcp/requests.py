"""What a call asks an MCP server: to call a tool of its own, or, by tools of ours, for its resources and prompts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    PaginatedRequestParams,
    Prompt,
    RequestParamsMeta,
    Resource,
)
from pydantic import JsonValue, TypeAdapter

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, ToolOrigin, ToolSpec
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.mcp.contents import prompt_list, prompt_text, resource_list, resource_text, result_text
from astromesh_tools.mcp.definitions import TOOL

if TYPE_CHECKING:
    from mcp.client.session import ClientSession
    from mcp.shared.dispatcher import ProgressFnT

    from astromesh_core.resources.agent_tools import McpTool

KEY: Final = "io.astromesh/idempotencyKey"
"""In a request's `_meta`: the same again for a call that is made again."""

MOST_ENTRIES: Final = 1_000
"""Of resources or prompts that are listed."""

_RESULT: Final[TypeAdapter[CallToolResult | InputRequiredResult]] = TypeAdapter(CallToolResult | InputRequiredResult)

_NO_ARGUMENTS: Final[dict[str, JsonValue]] = {"type": "object", "properties": {}, "additionalProperties": False}
_URI: Final[dict[str, JsonValue]] = {
    "type": "object",
    "properties": {"uri": {"type": "string", "minLength": 1, "description": "As it is listed, or made of a template."}},
    "required": ["uri"],
    "additionalProperties": False,
}
_PROMPT: Final[dict[str, JsonValue]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "description": "As it is listed."},
        "arguments": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}

Arguments = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Shown:
    """What a model reads of an answer."""

    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Request:
    """One call, ready to be made."""

    name: str
    arguments: Arguments
    idempotency_key: str
    on_progress: ProgressFnT


Asking = Callable[["ClientSession", Request], Awaitable[Shown]]


async def call_tool(session: ClientSession, request: Request) -> Shown:
    """Calls a tool. Raises NotSupported where the server wants to be answered by a person first."""
    meta: RequestParamsMeta = {KEY: request.idempotency_key} if request.idempotency_key else {}  # pyright: ignore[reportAssignmentType] - any key may stand in it
    params = CallToolRequestParams(name=request.name, arguments=dict(request.arguments), _meta=meta or None)
    # Not by `call_tool`: it checks the answer by the server's own schema, whose regular expressions may never end.
    result = await session.send_request(CallToolRequest(params=params), _RESULT, progress_callback=request.on_progress)
    if isinstance(result, InputRequiredResult):
        raise NotSupported("it asks to be answered by a person or a model before it goes on, which is not supported")
    return Shown(result_text(result), result.is_error)


async def list_resources(session: ClientSession, request: Request) -> Shown:
    """Lists what can be read, and the templates of addresses of what can be."""
    resources, cursor = list[Resource](), None
    while len(resources) < MOST_ENTRIES:
        page = await session.list_resources(params=PaginatedRequestParams(cursor=cursor))
        resources += page.resources
        cursor = page.next_cursor
        if cursor is None:
            break
    templates = await session.list_resource_templates()
    return Shown(resource_list(resources[:MOST_ENTRIES], templates.resource_templates[:MOST_ENTRIES]))


async def read_resource(session: ClientSession, request: Request) -> Shown:
    """Reads a resource."""
    result = await session.read_resource(str(request.arguments["uri"]))
    return Shown(resource_text(result.contents))


async def list_prompts(session: ClientSession, request: Request) -> Shown:
    """Lists the prompts."""
    prompts, cursor = list[Prompt](), None
    while len(prompts) < MOST_ENTRIES:
        page = await session.list_prompts(params=PaginatedRequestParams(cursor=cursor))
        prompts += page.prompts
        cursor = page.next_cursor
        if cursor is None:
            break
    return Shown(prompt_list(prompts[:MOST_ENTRIES]))


async def get_prompt(session: ClientSession, request: Request) -> Shown:
    """Gets a prompt, filled with arguments."""
    given = request.arguments.get("arguments")
    filled = {name: str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    return Shown(prompt_text(await session.get_prompt(str(request.arguments["name"]), filled)))


@dataclass(frozen=True)
class _Ours:
    """A tool of ours that asks a server for what is no tool."""

    suffix: str
    description: str
    parameters: dict[str, JsonValue]
    asking: Asking


RESOURCES: Final = (
    _Ours("list_resources", "Lists the resources of {entry} that can be read.", _NO_ARGUMENTS, list_resources),
    _Ours("read_resource", "Reads a resource of {entry}.", _URI, read_resource),
)
PROMPTS: Final = (
    _Ours("list_prompts", "Lists the prompts that {entry} keeps, with their arguments.", _NO_ARGUMENTS, list_prompts),
    _Ours("get_prompt", "Gets a prompt that {entry} keeps, filled with arguments.", _PROMPT, get_prompt),
)
_OURS: Final = {each.suffix: each for each in (*RESOURCES, *PROMPTS)}


def specs_of_ours(declared: McpTool) -> list[ToolSpec]:
    """The tools of ours that an entry wants, called after it."""
    wanted = (*(RESOURCES if declared.resources else ()), *(PROMPTS if declared.prompts else ()))
    return [
        ToolSpec(
            name=f"{declared.name}_{each.suffix}",
            description=each.description.format(entry=declared.name),
            parameters_json=ArgumentsSchema(each.parameters).text,
            effect=TOOL_EFFECT_KIND_READ,
            timeout_ms=round(declared.timeout_seconds * 1000),
            type=f"{TOOL}_{each.suffix}",
            origin=ToolOrigin(entry=declared.name, name=each.suffix),
        )
        for each in wanted
    ]


def asking_of(spec: ToolSpec) -> Asking:
    """What a call of this tool asks the server. Raises InvalidInput for a type that there is not."""
    if spec.type == TOOL:
        return call_tool
    ours = _OURS.get(spec.type.removeprefix(f"{TOOL}_"))
    if ours is None:
        raise InvalidInput(f"{spec.type} is no type of tools")
    return ours.asking
