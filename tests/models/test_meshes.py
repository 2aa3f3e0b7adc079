"""Agents on real models in a whole mesh, from their files to a run's answer over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from astromesh_testing import mesh as meshes
from astromesh_testing.mesh import running_mesh

AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: NAME}
spec:
  model:
    primary: {MODEL, parameters: {temperature: 0, max_tokens: 12}}
  prompts: {system: Be brief.}
"""
WORKSPACE = Path(__file__).resolve().parents[2] / ".venv"
COMMAND = "#!{python}\nfrom astromesh_cli.__main__ import main\nmain()\n"


@pytest.fixture
def _command_of_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the other environment has would not find what only this one has."""
    command = tmp_path / "astromesh"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setattr(meshes, "COMMAND", command)
    monkeypatch.setenv("PATH", f"{WORKSPACE / 'bin'}{os.pathsep}{os.environ['PATH']}")  # of nats-server


@pytest.mark.serial
@pytest.mark.usefixtures("_command_of_this_environment")
async def test_agents_on_real_models_answer(models: Path, llama_server: str, tmp_path: Path) -> None:
    agents = tmp_path / "config" / "agents"
    agents.mkdir(parents=True)
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    (folder / "tiny").symlink_to(models / "tiny")
    declared = {
        "onnx": "provider: onnx, model: tiny",
        "llamacpp": f"provider: llamacpp, model: tiny, endpoint: '{llama_server}'",
    }
    for name, model in declared.items():
        (agents / f"{name}.agent.yaml").write_text(AGENT.replace("NAME", name).replace("MODEL", model))
    async with running_mesh(tmp_path / "config", tmp_path / "data") as mesh:
        listed = (await mesh.client.get("/v1/agents")).json()["agents"]
        assert {agent["name"]: agent["ready"] for agent in listed} == dict.fromkeys(declared, True)
        for name in declared:
            answered = await mesh.client.post(f"/v1/agents/{name}/run", json={"query": "hello"})
            assert answered.status_code == 200, answered.text
            assert answered.json()["answer"]
