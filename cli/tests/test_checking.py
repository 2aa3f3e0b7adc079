"""`validate`, `doctor` and `version`, with no mesh, and how fast commands start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from astromesh_testing.mesh import COMMAND
from astromesh_testing.mesh_folders import ConfigFolder

from .conftest import SEARCH, Terminal


def test_a_valid_folder_is_valid(nowhere: Terminal) -> None:
    nowhere.folder.agent("one", [])
    nowhere.folder.runtime()
    assert "2 resources valid" in nowhere("validate", str(nowhere.folder.path)).err
    assert nowhere("validate", str(nowhere.folder.path), "--json").document()["ok"] is True


def test_a_problem_names_file_line_path_reason_and_hint(nowhere: Terminal) -> None:
    file = nowhere.folder.path / "agents" / "one.agent.yaml"
    file.write_text("apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: one}\nspec:\n  modle: {}\n")
    for target in (file, nowhere.folder.path):
        ended = nowhere("validate", str(target), code=1)
        assert f"{file}:5: spec.modle: is an unknown field (did you mean 'model'?)\n" in ended.out
    document = nowhere("validate", str(file), "--json", code=1).document()
    assert document["ok"] is False


def test_a_file_is_checked_among_the_others_of_its_folder(nowhere: Terminal) -> None:
    file = nowhere.folder.agent("librarian", [], tools=[SEARCH])
    assert "there is no RAGPipeline" in nowhere("validate", str(file), code=1).out
    nowhere.folder.pipeline("docs", {})
    nowhere("validate", str(file))


def test_what_is_not_built_is_told_and_fails_only_when_strict(nowhere: Terminal) -> None:
    file = nowhere.folder.path / "phones.channel.yaml"
    file.write_text("apiVersion: astromesh/v1\nkind: Channel\nmetadata: {name: phones}\nspec: {type: whatsapp}\n")
    assert "whatsapp channels are not built yet (stored, but not Ready)" in nowhere("validate", str(file)).out
    nowhere("validate", str(file), "--strict", code=1)
    assert "No such file" in nowhere("validate", "nowhere.yaml", code=2).err


def test_the_doctor_finds_what_is_broken_and_says_how_to_mend_it(nowhere: Terminal, tmp_path: Path) -> None:
    folders = ("--config", str(nowhere.folder.path), "--data", str(tmp_path / "data"))
    environment = {"ASTROMESH_PORT": "0", "ASTROMESH_GRPC_PORT": "0"}
    nowhere.folder.agent("one", [])
    healthy = nowhere("doctor", *folders, "--json", environment=environment).document()
    checks = healthy["checks"]
    assert isinstance(checks, list)
    named = {str(check["name"]): check for check in checks if isinstance(check, dict)}
    assert {"Python", "packages", "embedding model", "nats-server", "config", "data folder", "mesh"} <= named.keys()
    assert named["mesh"]["mend"] == "astromesh up"
    (nowhere.folder.path / "agents" / "bad.agent.yaml").write_text("kind: Agent\n")
    assert "to mend: config" in nowhere("doctor", *folders, code=1, environment=environment).out
    assert nowhere("doctor", *folders, code=1, environment={"ASTROMESH_PORT": "many"}).out.count("ASTROMESH_PORT") == 1


def test_the_doctor_recognises_a_running_mesh(terminal: Terminal) -> None:
    assert terminal.mesh is not None
    found = terminal("doctor", "--config", str(terminal.mesh.config), "--data", str(terminal.mesh.data)).out
    assert f"{terminal.url} is ready" in found
    assert "held by a running mesh" in found


def test_the_doctor_names_what_a_running_mesh_cannot_serve(terminal: Terminal, tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "more")
    file = folder.agent("swarming", [], tools=[], orchestration={"pattern": "swarm"})
    terminal("apply", "-f", str(file))
    try:
        checks = terminal("doctor", "--json").document()["checks"]
        assert isinstance(checks, list)
        found = next(check for check in checks if isinstance(check, dict) and "swarming" in str(check["found"]))
    finally:
        terminal("delete", "agent", "swarming")
    assert (found["name"], found["state"]) == ("agent", "note")
    assert "swarming is not Ready: " in str(found["found"])
    assert "a swarm without agents" in str(found["found"])
    assert found["mend"] == "astromesh describe agent swarming"


def test_the_help_tells_the_exit_codes(nowhere: Terminal) -> None:
    assert "69 nothing answers" in " ".join(nowhere("run", "--help").out.split())
    assert nowhere("version").out.startswith("astromesh 0.")


def test_a_command_imports_what_it_needs_when_it_runs() -> None:
    heavy = "{'pydantic', 'httpx', 'orjson', 'yaml', 'asyncio', 'numpy', 'grpc', 'google', 'rich'}"
    code = f"import sys, astromesh_cli.app; sys.exit(str({heavy} & set(sys.modules) or ''))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == ""


@pytest.mark.parametrize("command", ["--help", "runs --help", "runs list", "get agents"])
def test_a_command_starts_without_what_only_a_mesh_needs(terminal: Terminal, command: str) -> None:
    """What `astromesh` has imported when it ends, the answer of a mesh printed."""
    heavy = "numpy onnxruntime grpc google fastapi starlette uvicorn nats faststream yaml aiohttp httpx._main"
    code = (
        "import sys, atexit; from astromesh_cli.__main__ import main\n"
        f"atexit.register(lambda: print('imported', [n for n in {heavy.split()} if sys.modules.get(n)]))\n"
        f"sys.argv = ['astromesh', *{command.split()}]; main()"
    )
    environment = {**os.environ, "ASTROMESH_URL": terminal.url}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "imported []")


def test_a_reader_who_has_seen_enough_is_no_failure(nowhere: Terminal) -> None:
    nowhere.folder.agent("one", [])
    nowhere.folder.resource("agents/bad.agent.yaml", "Agent", {"name": "bad"}, {f"field{n}": n for n in range(2_000)})
    piped = f"set -o pipefail; {COMMAND} validate {nowhere.folder.path} --json | head -c 10"
    ended = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout[:6], ended.stderr) == (0, '{"ok":', "")
