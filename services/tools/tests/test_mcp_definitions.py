"""From what a server lists to what an agent is offered, without a server."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from mcp_types import Tool, ToolAnnotations

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_IDEMPOTENT, TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_WRITE
from astromesh_core.resources.agent_tools import McpTool
from astromesh_tools.mcp.definitions import definitions_of, effect_of
from astromesh_tools.mcp.session import Listing


def listing(*tools: Tool) -> Listing:
    return Listing(tools=tools, version="1", tells_changes=False, has_resources=False, has_prompts=False)


def tool(name: str, description: str | None = None) -> Tool:
    return Tool(name=name, description=description, input_schema={"type": "object"})


def declared(**fields: object) -> McpTool:
    return McpTool.model_validate({"name": "s", "type": "mcp", "command": "x", **fields})


@given(st.lists(st.text(max_size=90), max_size=12), st.from_regex(r"[A-Za-z0-9_-]{0,32}", fullmatch=True))
def test_every_tool_gets_a_name_of_its_own_that_models_understand(names: list[str], prefix: str) -> None:
    made = definitions_of(declared(prefix=prefix), listing(*map(tool, names)))
    given_names = [spec.name for spec in made.specs]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in given_names)
    assert len(set(given_names)) == len(given_names) == len(set(names))
    assert {spec.origin.name for spec in made.specs} == set(names)


def test_a_name_that_models_understand_stays_as_it_is() -> None:
    made = definitions_of(declared(), listing(tool("a.b"), tool("a_b"), tool("c/d")))
    names = {spec.origin.name: spec.name for spec in made.specs}
    assert names["a_b"] == "a_b"
    assert names["c/d"] == "c_d"
    assert re.fullmatch(r"a_b_[0-9a-f]{6}", names["a.b"])


def test_effects_are_the_files_then_the_servers_then_the_worst() -> None:
    reads, repeats = ToolAnnotations(read_only_hint=True), ToolAnnotations(idempotent_hint=True)
    assert effect_of(None, reads) == TOOL_EFFECT_KIND_READ
    assert effect_of(None, repeats) == TOOL_EFFECT_KIND_IDEMPOTENT
    assert effect_of(None, ToolAnnotations(read_only_hint=False, destructive_hint=False)) == TOOL_EFFECT_KIND_WRITE
    assert effect_of(None, None) == TOOL_EFFECT_KIND_WRITE
    assert effect_of("write", reads) == TOOL_EFFECT_KIND_WRITE


def test_a_tool_that_its_server_does_not_describe_is_described_by_the_file() -> None:
    made = definitions_of(declared(description="Of the shop."), listing(tool("a"), tool("b", "Does b.")))
    assert [spec.description for spec in made.specs] == ["Of the shop.", "Does b."]


def test_the_hash_of_a_definition_is_another_where_anything_of_it_is() -> None:
    plain = definitions_of(declared(), listing(tool("a", "Does a."))).specs[0].origin.sha256
    other = tool("a", "Does a.").model_copy(update={"output_schema": {"type": "object"}})
    assert definitions_of(declared(), listing(other)).specs[0].origin.sha256 != plain
    assert definitions_of(declared(), listing(tool("a", "Does a."))).specs[0].origin.sha256 == plain
