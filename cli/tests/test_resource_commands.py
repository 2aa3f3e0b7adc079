"""`get`, `describe`, `apply` and `delete` against a mesh."""

from __future__ import annotations

import time
from pathlib import Path

from .conftest import Terminal

AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: greeter, version: "1.0"}
spec:
  model: {primary: {provider: extractive}}
"""


def test_the_tables_have_the_columns_of_kubectl(terminal: Terminal) -> None:
    heads = {
        "agents": "NAME DISPLAY NAME PROVIDER MODEL PATTERN READY AGE",
        "ragpipelines": "NAME STORE EMBEDDING MODEL DOCUMENTS CHUNKS LAST INGESTED AGE",
    }
    for kind, head in heads.items():
        assert " ".join(terminal("get", kind).out.splitlines()[0].split()) == head
    row = terminal("get", "RAGPipeline", "docs").out.splitlines()[1].split()
    assert row[:5] == ["docs", "faiss", "all-MiniLM-L6-v2", "2", "2"]
    assert terminal("get", "channels").out == ""
    assert "did you mean 'agents'?" in terminal("get", "agnets", code=1).err


def test_an_agent_is_applied_described_read_back_and_deleted(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "greeter.yaml"
    file.write_text(AGENT)
    assert "created" in terminal("apply", "-f", str(file)).err
    _seen(terminal, "greeter")
    described = terminal("describe", "agent", "greeter").out
    assert "managed by  api" in described
    assert "provider: extractive" in described
    written = terminal("get", "ag", "greeter", "-o", "yaml").out
    assert "replaced" in terminal("apply", "-f", "-", stdin=written).err
    assert terminal("apply", "-f", str(file), "--json").document()["applied"]
    terminal("delete", "agent", "greeter")
    assert "there is no" in terminal("delete", "agent", "greeter", code=1).err


def test_nothing_is_applied_of_a_file_that_is_not_valid(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(AGENT + "---\n" + AGENT.replace("greeter", "second").replace("model:", "modle:"))
    refused = terminal("apply", "-f", str(file), code=1)
    assert f"{file}:11: spec.modle" in refused.err
    assert "greeter" not in terminal("get", "agents").out


def test_what_was_never_valid_is_got_and_described_until_it_is_gone(terminal: Terminal) -> None:
    agents = terminal.folder.path / "agents"
    (agents / "zoe.agent.yaml").write_text(AGENT.replace("greeter", "zoe").replace("model:", "modle:"))
    (agents / "torn.agent.yaml").write_text("spec: [")
    torn = "refused: agents/torn.agent.yaml:2: is not YAML"
    line = "agents/zoe.agent.yaml:5: spec.modle: is an unknown field (did you mean 'model'?)"
    try:
        _seen(terminal, "zoe")
        _seen(terminal, "torn")
        listed = terminal("get", "agents")
        row = next(row.split() for row in listed.out.splitlines() if row.startswith("zoe"))
        assert row[:6] == ["zoe", "—", "—", "—", "—", "false"]
        assert f"zoe: refused: {line}" in listed.err
        assert torn in listed.err
        assert torn in terminal("get", "channels").err
        described = terminal("describe", "agent", "zoe").out
        assert "Refused edit (no version of it was ever good)" in described
        assert line in described
        assert "zoe" not in terminal("get", "agents", "-o", "yaml").out
        assert line in terminal("run", "zoe", "hello", code=1).err
    finally:
        for name in ("zoe", "torn"):
            (agents / f"{name}.agent.yaml").unlink()
    _seen(terminal, "zoe", there=False)
    _seen(terminal, "torn", there=False)


def test_what_a_file_manages_is_not_changed_over_the_api(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "librarian.yaml"
    file.write_text(AGENT.replace("greeter", "librarian"))
    assert "managed by file" in terminal("apply", "-f", str(file), code=1).err
    assert "file" in terminal("delete", "agent", "librarian", code=1).err


def _seen(terminal: Terminal, name: str, *, there: bool = True) -> None:
    deadline = time.monotonic() + 5
    while True:
        listed = terminal("get", "agents")
        if (name in listed.out + listed.err) is there:
            return
        assert time.monotonic() < deadline, listed
        time.sleep(0.02)
