"""What the files say against what serves: kept, replaced, deleted or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.conditions import CONFIG_FOLDER
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.references import ResourceKey
from astromesh_operator.folder import read_folder
from astromesh_operator.planning import Plan, Stored, lines_of, plan

from .texts import PROVIDERS, RUNTIME, agent, write

DESK = ResourceKey("Agent", "default", "desk")
OFFLINE = ResourceKey("Provider", "default", "offline")
FILES = {"providers.yaml": PROVIDERS, "agents/desk.agent.yaml": agent()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "config", FILES)


def serving(decided: Plan) -> dict[ResourceKey, Stored]:
    return {resource.key: Stored(resource, resource.locate(())[0]) for resource in decided.put}


def test_good_files_are_stored(folder: Path) -> None:
    decided = plan(read_folder(folder), {})

    assert {resource.key for resource in decided.put} == {DESK, OFFLINE}
    assert decided.problems == ()


def test_a_bad_edit_is_refused_by_file_line_and_field_and_the_last_good_version_stays(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    write(folder, {"agents/desk.agent.yaml": agent(extra="  promts: {system: hello}\n")})

    decided = plan(read_folder(folder), before)

    assert [resource.key for resource in decided.put] == [OFFLINE]
    assert decided.delete == ()
    assert lines_of(decided.refused[DESK]).startswith("agents/desk.agent.yaml:7: spec.promts: ")


def test_what_is_wrong_and_names_no_resource_is_kept_by_itself(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    write(folder, {"agents/torn.agent.yaml": "spec: [", "stray.yaml": "{}", "agents/desk.agent.yaml": "spec: ["})
    write(folder, {"agents/twin.agent.yaml": agent("offline"), "agents/twin2.agent.yaml": agent("offline")})

    decided = plan(read_folder(folder), before)

    assert {problem.file for problem in decided.refused[DESK]} == {"agents/desk.agent.yaml"}
    by_itself = {problem.file: problem.code for problem in decided.refused[CONFIG_FOLDER]}
    assert by_itself == {
        "agents/torn.agent.yaml": "InvalidYAML",
        "stray.yaml": "UnexpectedFile",
        "agents/twin2.agent.yaml": "DuplicateName",
    }


def test_an_edit_that_refers_to_nothing_is_refused_and_the_last_good_version_stays(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    write(folder, {"agents/desk.agent.yaml": agent(provider="offlin")})

    decided = plan(read_folder(folder), before)

    assert decided.delete == ()
    (problem,) = decided.refused[DESK]
    assert (problem.code, problem.line) == ("UnknownProvider", 6)
    assert "offline" in problem.hint


def test_a_resource_that_was_never_good_is_refused_alone(folder: Path) -> None:
    write(folder, {"agents/other.agent.yaml": agent("other", provider="nowhere")})

    decided = plan(read_folder(folder), {})

    assert {resource.key for resource in decided.put} == {DESK, OFFLINE}
    assert list(decided.refused) == [ResourceKey("Agent", "default", "other")]


def test_what_is_gone_from_the_files_is_deleted(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    (folder / "agents/desk.agent.yaml").unlink()

    assert plan(read_folder(folder), before).delete == (DESK,)


def test_what_is_gone_but_still_referred_to_stays_and_says_by_whom(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    (folder / "providers.yaml").unlink()

    decided = plan(read_folder(folder), before)

    assert decided.delete == ()
    assert [resource.key for resource in decided.put] == [DESK]
    assert "Agent default/desk refers to it" in decided.refused[OFFLINE][0].reason


@pytest.mark.parametrize("text", ["apiVersion: [", "\x00", "just words"])
def test_a_file_whose_text_says_nothing_deletes_nothing(folder: Path, text: str) -> None:
    before = serving(plan(read_folder(folder), {}))
    write(folder, {"agents/desk.agent.yaml": text})

    decided = plan(read_folder(folder), before)

    assert decided.delete == ()
    assert DESK in decided.refused


def test_a_config_folder_that_is_gone_deletes_nothing(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))

    decided = plan(read_folder(folder.parent / "elsewhere"), before)

    assert decided.delete == ()
    assert set(decided.refused) == {DESK, OFFLINE}


def test_a_subfolder_that_cannot_be_listed_deletes_nothing_in_it(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    unlisted = Loaded((before[OFFLINE].resource,), (Problem("agents/", 0, "", "cannot be read", code="Unreadable"),))

    assert plan(unlisted, before).delete == ()


def test_what_another_side_owns_is_neither_replaced_nor_deleted(folder: Path) -> None:
    good = plan(read_folder(folder), {})
    before = {key: Stored(replace(old.resource, managed_by="api"), "") for key, old in serving(good).items()}

    decided = plan(read_folder(folder), before)

    assert decided.put == ()
    assert decided.delete == ()
    assert "managed by api" in decided.refused[DESK][0].reason


def test_a_reference_may_lead_to_what_another_side_owns(folder: Path) -> None:
    theirs = replace(serving(plan(read_folder(folder), {}))[OFFLINE].resource, managed_by="api")
    (folder / "providers.yaml").unlink()

    decided = plan(read_folder(folder), {OFFLINE: Stored(theirs, "")})

    assert [resource.key for resource in decided.put] == [DESK]
    assert decided.problems == ()


def test_a_name_given_twice_keeps_the_first_and_names_both_places(folder: Path) -> None:
    write(folder, {"agents/twin.agent.yaml": agent()})

    decided = plan(read_folder(folder), {})

    assert [resource.key for resource in decided.put].count(DESK) == 1
    assert [(problem.code, problem.file) for problem in decided.problems] == [
        ("DuplicateName", "agents/twin.agent.yaml")
    ]


def test_a_mesh_has_one_runtime_config(folder: Path) -> None:
    write(folder, {"runtime.yaml": f"{RUNTIME}---\n{RUNTIME.replace('name: mesh', 'name: second')}"})

    decided = plan(read_folder(folder), {})

    assert [key.name for key in decided.refused] == ["second"]


def test_an_agent_gets_the_defaults_of_the_mesh(folder: Path) -> None:
    write(folder, {"runtime.yaml": RUNTIME})

    decided = plan(read_folder(folder), {})

    spec = next(resource.spec for resource in decided.put if resource.key == DESK)
    assert isinstance(spec, AgentSpec)
    assert spec.orchestration.max_iterations == 3


def test_planning_again_changes_nothing(folder: Path) -> None:
    loaded = read_folder(folder)
    first = plan(loaded, {})

    assert plan(loaded, serving(first)) == first
