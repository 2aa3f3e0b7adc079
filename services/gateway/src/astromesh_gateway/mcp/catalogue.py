"""Which agents an MCP client is offered, and how each looks as a tool. Calling one stands in `calls`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, cast

import orjson
from mcp import MCPError
from mcp_types import INVALID_PARAMS, Tool
from pydantic import Field, JsonValue

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh_core.errors import AstromeshError
from astromesh_core.resources.agent import AgentSpec
from astromesh_gateway.bodies import Body
from astromesh_gateway.directory import Directory

PAGE: Final = 500
"""Tools in one answer."""

_KIND: Final = "Agent"
_KEPT: Final = 512

Listing = tuple[tuple[str, bytes], ...]
"""Names with the hash of what is declared, by name: equal where a client sees the same."""


class CallArguments(Body):
    """What a call of an agent says."""

    query: str = Field(
        min_length=1,
        description="The question or the task, in full: the agent sees nothing else of this conversation.",
    )
    session_id: str = Field(
        default="",
        max_length=512,
        description="A name for a conversation with the agent: the same name goes on with it. "
        "Left out, the call stands alone.",
    )
    context: dict[str, JsonValue] = Field(
        default_factory=dict[str, JsonValue], description="Variables for the agent's prompt."
    )
    user: str = Field(default="", max_length=512, description="Whom the content is about, as you name them.")


def offered(directory: Directory, namespace: str) -> list[ResourceRecord]:
    """The agents of the namespace that its RuntimeConfig offers and that can be asked now, by name."""
    chosen = directory.mcp(namespace)
    records = directory.records(_KIND, namespace) if chosen.enabled else []
    return [
        record
        for record in records
        if chosen.offers(record.ref.name) and _can_be_asked(directory, namespace, record.ref.name)
    ]


def listing(directory: Directory, namespace: str) -> Listing:
    """What would have to change for a client's list of tools to be out of date."""
    return tuple((record.ref.name, record.ref.sha256) for record in offered(directory, namespace))


def tools(records: list[ResourceRecord], after: str = "") -> tuple[list[Tool], str | None]:
    """A page of tools, and where the next one begins; None after the last."""
    rest = [record for record in records if record.ref.name > after]
    page = [_tool(record.ref.name, record.spec_json) for record in rest[:PAGE]]
    return page, page[-1].name if len(rest) > PAGE else None


def check_offered(directory: Directory, namespace: str, agent: str) -> None:
    """Raises MCPError, with the reason, for what is no tool of the namespace."""
    try:
        directory.agent(namespace, agent)
    except AstromeshError as error:
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {error.message}") from error
    if not directory.mcp(namespace).offers(agent):
        raise MCPError(
            INVALID_PARAMS,
            f"Unknown tool: agent {agent!r} is not offered; spec.mcp.agents of runtime.yaml lists who is",
        )


def has_object_schema(spec: AgentSpec) -> bool:
    """Whether the agent's answers are objects: what an output schema of MCP can say to clients of every age."""
    return spec.output_schema is not None and _parsed(spec.output_schema).get("type") == "object"


@lru_cache(maxsize=_KEPT)
def agent_spec(spec_json: str) -> AgentSpec:
    """What is declared, read once for each version."""
    return AgentSpec.from_json(spec_json)


@lru_cache(maxsize=_KEPT)
def _tool(name: str, spec_json: str) -> Tool:
    spec = agent_spec(spec_json)
    return Tool(
        name=name,
        title=spec.identity.display_name or None,
        description=spec.identity.description or f"Asks the agent {spec.identity.display_name or name}.",
        input_schema=_input_schema(),
        output_schema=_parsed(spec.output_schema or "") if has_object_schema(spec) else None,
    )


@lru_cache(maxsize=1)
def _input_schema() -> dict[str, Any]:
    schema = CallArguments.model_json_schema()
    # Titles repeat the names, and cost the client's model their tokens.
    properties = cast("dict[str, dict[str, Any]]", schema["properties"])
    plain = {name: {key: each for key, each in value.items() if key != "title"} for name, value in properties.items()}
    return {
        "type": "object",
        "properties": plain,
        "required": schema["required"],
        "additionalProperties": False,
    }


def _parsed(schema: str) -> dict[str, Any]:
    return cast("dict[str, Any]", orjson.loads(schema))


def _can_be_asked(directory: Directory, namespace: str, agent: str) -> bool:
    try:
        directory.agent(namespace, agent)
    except AstromeshError:
        return False
    return True
