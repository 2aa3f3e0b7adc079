"""What is served by a stand-in here is told with its place, and makes nothing invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from astromesh_cli.validating import validate
from astromesh_core.resources import extras

PETS = """\
openapi: 3.1.0
servers: [{url: "https://pets.example"}]
paths: {/pets: {get: {operationId: listPets}}}
"""
KEEPER = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: keeper}
spec:
  model: {primary: {provider: ollama, model: m}}
  tools:
    - {name: pets, type: openapi, spec: apis/pets.yaml, operations: [listPets]}
"""
AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: a}
spec:
  model: {primary: {provider: ollama, model: m}}
  memory:
    conversational:
      backend: redis
"""


def test_a_missing_driver_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        del name

    file = tmp_path / "a.agent.yaml"
    file.write_text(AGENT)
    assert validate(file).stand_ins == ()
    monkeypatch.setattr(extras, "find_spec", missing)
    findings = validate(file)
    (told,) = findings.stand_ins
    assert (told.line, told.path, told.code) == (8, "spec.memory.conversational.backend", "FallbackSQLite")
    assert str(told).endswith("run: pip install 'astromesh[redis]'")
    assert (findings.problems, findings.gaps) == ((), ())


def test_an_operation_that_a_document_has_not_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "pets.yaml").write_text(PETS)
    file = tmp_path / "agents" / "keeper.agent.yaml"
    file.write_text(KEEPER)
    assert validate(file).problems == validate(tmp_path).problems == ()
    (tmp_path / "apis" / "pets.yaml").write_text(PETS.replace("listPets", "listPet"))
    (told,) = validate(file).problems
    assert (told.line, told.path, told.code) == (7, "spec.tools[0].spec", "BadDocument")
    assert "apis/pets.yaml has no operation 'listPets'; did you mean 'listPet'?" in told.reason
