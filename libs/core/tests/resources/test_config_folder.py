"""The config folder: which files are read, and the sample that is shipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_folder
from astromesh_core.resources.validation import check

SAMPLE = Path(__file__).parents[4] / "config"
AGENT = "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: x}\nspec: {model: {primary: {provider: extractive}}}\n"


def test_the_sample_is_sound() -> None:
    loaded = load_folder(SAMPLE)
    assert loaded.problems == ()
    assert check(loaded.resources) == []
    assert [gap for resource in loaded.resources for gap in unsupported(resource)] == []
    assert {str(resource.key) for resource in loaded.resources} >= {
        "Agent default/docs-agent",
        "RAGPipeline default/docs",
    }
    assert len(list((SAMPLE / "knowledge").glob("**/*.md"))) >= 6


def test_a_bad_file_is_named_relative_to_the_folder_and_the_others_load(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "config")
    (tmp_path / "config/agents/bad.agent.yaml").write_text("kind: {\n")
    loaded = load_folder(tmp_path / "config")
    (problem,) = loaded.problems
    assert problem.file == "agents/bad.agent.yaml"
    assert "docs-agent" in {resource.name for resource in loaded.resources}


def test_a_file_that_would_be_ignored_is_named(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/x.yaml").write_text(AGENT)
    (tmp_path / "agents/y.agent.yaml").write_text(AGENT)
    (tmp_path / "connections.yaml").write_text("a: 1\n")
    loaded = load_folder(tmp_path)
    assert [(problem.file, problem.code) for problem in loaded.problems] == [
        ("agents/x.yaml", "UnexpectedFile"),
        ("connections.yaml", "UnexpectedFile"),
    ]
    assert loaded.problems[0].hint == "name it x.agent.yaml"
    assert len(loaded.resources) == 1


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    loaded = load_folder(tmp_path / "none")
    assert (loaded.resources, loaded.problems) == ((), ())


def test_resources_stand_on_neither_bus_nor_rpc() -> None:
    names = sorted(path.stem for path in (SAMPLE.parent / "libs/core/src/astromesh_core/resources").glob("*.py"))
    modules = ", ".join(f"astromesh_core.resources.{name}" for name in names if name != "__init__")
    script = (
        f"import sys, {modules}\nprint([m for m in sys.modules if m.split('.')[0] in ('nats', 'grpc', 'faststream')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
