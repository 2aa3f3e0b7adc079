"""The ONNX provider without its runtime: what is said, what goes on, and which parameters it takes.

With the runtime, and a model: `tests/models`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from astromesh_core.errors import AstromeshError, InvalidInput, NotFound, NotSupported
from astromesh_core.events.contents import plain
from astromesh_core.resources import extras
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.vendors import VENDORS
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.app import open_calls
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.onnx import TEMPLATE_CHOICE, settings
from astromesh_router.dialects.onnx_engine import SETTERS
from astromesh_router.failures import CandidateFailed
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.replies import Reply

from .asking import asking, complete, no_embedder, ollama

PHI = Candidate("onnx", "onnx", "phi", max_retries=0)
HERE = extras.Extra("onnx", "sys", "onnxruntime-genai")
AWAY = extras.Extra("onnx", "no_such_module", "onnxruntime-genai")


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    async with open_calls(no_embedder, {}, Telemetry(), models=tmp_path) as opened:
        yield opened


@pytest.fixture
def _without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "ONNX", AWAY)


@pytest.fixture
def _with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "ONNX", HERE)


@pytest.mark.usefixtures("_without_the_extra")
async def test_without_the_extra_a_run_is_told_the_command(calls: Calls) -> None:
    with pytest.raises(NotSupported, match=r"onnx phi: .* not installed; run: pip install 'astromesh\[onnx\]'"):
        await complete(calls, asking(), PHI)


@pytest.mark.usefixtures("_without_the_extra")
async def test_without_the_extra_the_next_candidate_answers(calls: Calls) -> None:
    async with OllamaServer(Reply("Here I am.")) as server:
        completion = (await complete(calls, asking(), PHI, ollama(server))).completion
    assert plain(completion.message.content) == "Here I am."
    assert "not installed" in completion.route.steps[0].reason


@pytest.mark.usefixtures("_with_the_extra")
@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("phi", NotFound, "there is no folder .*/phi; put the model there"),
        ("empty", InvalidInput, "has no genai_config.json"),
        ("../elsewhere", InvalidInput, "not below the models; write an absolute path"),
    ],
)
async def test_a_folder_without_a_model_is_named(
    calls: Calls, tmp_path: Path, model: str, kind: type[AstromeshError], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind, match=said):
        await complete(calls, asking(), replace(PHI, model=model))


def test_the_examples_of_the_guide_load_and_lack_the_extra_alone() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "models-on-your-machine.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert len(examples) == 5
    for text in examples:
        loaded = load_text(text, "guide.yaml")
        assert loaded.problems == ()
        gaps = [str(gap) for resource in loaded.resources for gap in unsupported(resource)]
        assert [gap for gap in gaps if "needs an extra" not in gap] == []


def test_what_a_file_may_say_is_what_the_runtime_is_told() -> None:
    assert VENDORS["onnx"].parameters == SETTERS.keys() | {TEMPLATE_CHOICE}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("seed", 1, "knows no parameters.seed"), ("top_k", 1.5, "a whole number"), ("top_p", "much", "a number")],
)
def test_a_parameter_that_the_runtime_does_not_take_is_refused(name: str, value: float | str, said: str) -> None:
    with pytest.raises(CandidateFailed, match=said):
        settings(replace(PHI, parameters={name: value}))
