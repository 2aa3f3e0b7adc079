"""`tools`: what agents may call, as models are told of it, and calling it by hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_gateway.routes.tools import ToolList, ToolReply, ToolResultReply

Agent = Annotated[str, typer.Argument(help="Whose tool.", metavar="AGENT")]
Tool = Annotated[str, typer.Argument(help="The tool's name.", metavar="TOOL")]

_LONGEST_SECONDS = 310.0
_WIDTH = 72


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "list")(list_tools)
    client_command(app, "describe")(describe)
    client_command(app, "call")(call_tool)


def list_tools(
    call: Call, agent: Annotated[str, typer.Argument(help="Of this agent; else of all.", metavar="[AGENT]")] = ""
) -> None:
    """Lists tools, with what a call of each does to the world."""
    from astromesh_cli.client.terminal import WARN, print_json, shortened, table, tell

    with call.connect() as mesh:
        found = cast("ToolList", mesh.get("/v1/tools", {"agent": agent} if agent else None))
    if call.as_json:
        print_json(found)
        return
    rows = [
        [tool["agent"], tool["name"], tool["type"], tool["effect"], shortened(tool["description"], _WIDTH)]
        for tool in found["tools"]
    ]
    table(["AGENT", "NAME", "TYPE", "EFFECT", "DESCRIPTION"], rows)
    for untold in found.get("untold", []):
        tell(f"{untold['agent']}: {untold['reason']}", WARN)


def describe(call: Call, agent: Agent, tool: Tool) -> None:
    """Shows a tool: its arguments' schema, its effect, its version, and the bounds that the agent's file sets."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        found = cast("ToolReply", mesh.get(f"/v1/tools/{agent}/{tool}"))
    if call.as_json:
        print_json(found)
    else:
        _print_tool(found)


def call_tool(
    call: Call,
    agent: Agent,
    tool: Tool,
    arguments: Annotated[
        str, typer.Argument(help='A JSON object, such as {"a": 1}; - reads it from stdin.', metavar="[ARGUMENTS]")
    ] = "{}",
) -> None:
    """Calls a tool once, outside any run. Exits with 1 where it answers that it could not."""
    from astromesh_cli.client.terminal import milliseconds, print_json, tell

    body: dict[str, JsonValue] = {"agent": agent, "tool_name": tool, "arguments": _object(arguments)}
    with call.connect() as mesh:
        reply = cast("ToolResultReply", mesh.post("/v1/tools/execute", body, seconds=_LONGEST_SECONDS))
    if call.as_json:
        print_json(reply)
    else:
        result = reply["result"]
        if isinstance(result, str):
            typer.echo(result)
        else:
            print_json(result)
        tell(f"{reply['agent']}/{reply['tool']} took {milliseconds(reply['duration_ms'])}")
    if not reply["ok"]:
        raise typer.Exit(Exit.FAILED)


def _object(text: str) -> dict[str, JsonValue]:
    import json

    try:
        value: object = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise typer.BadParameter(f"are no JSON: {error}", param_hint="ARGUMENTS") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('are no JSON object, such as {"a": 1}', param_hint="ARGUMENTS")
    return cast("dict[str, JsonValue]", value)


def _print_tool(tool: ToolReply) -> None:
    import json

    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out

    told: list[tuple[str, str]] = [
        ("type", tool["type"]),
        ("effect", tool["effect"]),
        ("timeout", f"{tool['timeout_ms'] / 1000:g} s" if tool["timeout_ms"] else "that of the run that asks"),
        ("version", tool["version"]),
        *((name, json.dumps(value)) for name, value in tool.get("declared", {}).items()),
    ]
    out().print(Text.assemble((tool["name"], NAME), (f"  of {tool['agent']}", QUIET)))
    out().print(Text(tool["description"]))
    width = max(len(name) for name, _ in told)
    for name, value in told:
        out().print(Text.assemble((f"  {name.ljust(width)}  ", QUIET), value))
    out().print(Text("Arguments", TITLE))
    out().print(Text(json.dumps(tool["parameters"], indent=2, ensure_ascii=False)))
