"""`tools` against a mesh: what an agent may call, as its model is told of it, and called by hand."""

from __future__ import annotations

from pathlib import Path

from astromesh_testing.mesh_folders import ConfigFolder

from .conftest import Terminal


def test_tools_are_listed_described_and_called(terminal: Terminal) -> None:
    listed = terminal("tools", "list", "librarian").out.splitlines()
    assert listed[0].split() == ["AGENT", "NAME", "TYPE", "EFFECT", "DESCRIPTION"]
    assert listed[1].split()[:4] == ["librarian", "search", "rag", "read"]
    assert any(line.startswith("librarian") for line in terminal("tools", "list").out.splitlines())
    described = terminal("tools", "describe", "librarian", "search").out
    for part in ("effect", "read", "version", '"query"', "Searches the documents"):
        assert part in described
    version = terminal("tools", "describe", "librarian", "search", "--json").document()["version"]
    assert f"  {version}" in described
    assert "boats.md" in terminal("tools", "call", "librarian", "search", '{"query": "ferry"}').out
    answered = terminal("tools", "call", "librarian", "search", "-", "--json", stdin='{"query": "ferry"}').document()
    assert answered["ok"] is True


def test_an_agent_as_a_tool_takes_the_time_of_the_run_that_asks(terminal: Terminal, tmp_path: Path) -> None:
    asks = {"name": "look", "type": "agent", "agent": "librarian", "description": "Looks it up"}
    terminal("apply", "-f", str(ConfigFolder(tmp_path / "more").agent("asking", [], tools=[asks])))
    try:
        described = terminal("tools", "describe", "asking", "look").out
    finally:
        terminal("delete", "agent", "asking")
    assert "timeout  that of the run that asks" in described


def test_a_wrong_call_says_what_is_wrong(terminal: Terminal) -> None:
    assert "its tools: search" in terminal("tools", "describe", "librarian", "look", code=1).err
    assert "'query' is a required property" in terminal("tools", "call", "librarian", "search", code=1).err.replace(
        '"', "'"
    )
    assert "are no JSON object" in terminal("tools", "call", "librarian", "search", "[1]", code=2).err


def test_a_tools_whole_result_is_fetched_from_its_run(terminal: Terminal) -> None:
    run_id = terminal.asked()
    steps = terminal("runs", "show", run_id, "--json").document()["steps"]
    assert isinstance(steps, list)
    path = next(str(step["path"]) for step in steps if isinstance(step, dict) and step["kind"] == "tool")
    assert '"passages"' in terminal("runs", "result", run_id, path).out
    assert terminal("runs", "result", run_id, path, "--json").document()["cut"] is False
    assert "no tool has answered at '9.9'" in terminal("runs", "result", run_id, "9.9", code=1).err
