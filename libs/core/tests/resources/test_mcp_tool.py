"""How an agent's file declares an MCP server: what is told of one way to it and not of another, and what tools do."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import TypeAdapter, ValidationError

from astromesh_core.resources.agent_tools import McpTool
from astromesh_core.resources.loading import load_text

AT = {"name": "s", "type": "mcp", "url": "https://example.com/mcp"}
RUNS = {"name": "s", "type": "mcp", "command": "npx"}
ADAPTER = TypeAdapter(McpTool)


def server(base: Mapping[str, object], **fields: object) -> McpTool:
    return ADAPTER.validate_python({**base, **fields})


@pytest.mark.parametrize(
    ("fields", "way"),
    [
        (RUNS, "stdio"),
        ({**RUNS, "type": "mcp_stdio"}, "stdio"),
        (AT, "http"),
        ({**AT, "type": "mcp_http"}, "http"),
        ({**AT, "type": "mcp_sse"}, "sse"),
        ({**AT, "transport": "sse"}, "sse"),
        ({**AT, "transport": "streamable_http"}, "http"),
        ({**AT, "type": "mcp_http", "transport": "streamable-http"}, "http"),
    ],
)
def test_each_spelling_of_a_way_leads_there(fields: dict[str, object], way: str) -> None:
    assert server(fields).way == way
    assert McpTool.from_json(server(fields).to_json()).way == way


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "s", "type": "mcp"}, "needs url"),
        ({"name": "s", "type": "mcp_stdio"}, "needs command"),
        ({**AT, "command": "npx"}, "has no url"),
        ({**AT, "args": ["x"]}, "has no args"),
        ({**AT, "env": {"A": "b"}}, "has no env"),
        ({**RUNS, "headers": {"X-A": "b"}}, "has no headers"),
        ({**RUNS, "allow_private": True}, "has no allow_private"),
        ({**AT, "type": "mcp_sse", "transport": "http"}, "has type mcp_sse and the transport http"),
        ({**AT, "headers": {"Mcp-Session-Id": "1"}}, "sets Mcp-Session-Id, which is set by itself"),
        ({**AT, "headers": {"X-A": "b\r\nX-B: c"}}, "which is no header"),
        ({**AT, "headers": {"authorization": "${A}"}, "auth": {"type": "bearer", "token": "${A}"}}, "has both auth"),
        ({**RUNS, "env": {"A=B": "c"}}, "is not the name of an environment variable"),
        ({**RUNS, "prefix": "no spaces "}, "is not the beginning of a tool's name"),
        ({**RUNS, "effects": {"a": "none"}}, "effects"),
        ({**RUNS, "timeout": 0}, "greater than 0"),
        ({**AT, "url": "ftp://example.com"}, "is not an http address"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        server(fields)


def test_a_secret_stands_in_no_file() -> None:
    text = (
        "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n  model: {primary: {provider: ollama, "
        "model: m}}\n  tools: [{name: s, type: mcp, url: 'https://example.com', headers: {Authorization: Bearer x}}]\n"
    )
    (problem,) = load_text(text, "f.yaml").problems
    assert "Authorization" in str(problem)


def test_tools_are_chosen_by_name() -> None:
    every = server(RUNS).tools
    assert every.offers("anything")
    some = server(RUNS, tools={"include": ["read_*", "list"], "exclude": ["read_secret"]}).tools
    assert [name for name in ("read_file", "read_secret", "list", "write") if some.offers(name)] == [
        "read_file",
        "list",
    ]
    assert some.named == ("list",)
    assert server(RUNS, tools=["list"]).tools.named == ("list",)


def test_the_name_that_says_most_decides_what_a_tool_does() -> None:
    declared = server(RUNS, effect="read", effects={"w*": "idempotent", "write_*": "write", "write_log": "read"})
    effects = {name: declared.effect_of(name) for name in ("look", "wave", "write_file", "write_log")}
    assert effects == {"look": "read", "wave": "idempotent", "write_file": "write", "write_log": "read"}
    assert server(RUNS, effects={"w*": "write"}).effect_of("look") is None
