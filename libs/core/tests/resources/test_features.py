"""A feature that is not built is named, field by field; what is built is not."""

from __future__ import annotations

from typing import get_args

import pytest

from astromesh_core.resources import extras
from astromesh_core.resources.candidates import Strategy
from astromesh_core.resources.extras import PROVIDER_EXTRAS
from astromesh_core.resources.features import fallbacks, unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.vendors import VENDORS, Vendor

AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: a}
spec:
  model: {primary: {provider: %s, model: m}%s}
"""
PIPELINE = "apiVersion: astromesh/v1\nkind: RAGPipeline\nmetadata: {name: p}\nspec:\n"


def gaps(text: str) -> list[str]:
    loaded = load_text(text, "f.yaml")
    assert loaded.problems == ()
    return [str(gap) for resource in loaded.resources for gap in unsupported(resource)]


def agent(more: str = "", provider: str = "ollama", models: str = "") -> str:
    return AGENT % (provider, models) + (f"  {more}\n" if more else "")


@pytest.mark.parametrize("provider", [*sorted(VENDORS.keys() - PROVIDER_EXTRAS.keys()), "openai-compat"])
def test_every_provider_of_the_documents_is_built(provider: str) -> None:
    endpoint = ", endpoint: 'http://x'" if VENDORS.get(provider, Vendor("")).example else ""
    assert gaps(agent(provider=f"{provider}{endpoint}")) == []


@pytest.mark.skipif(extras.ONNX.installed, reason="this environment has the extra")
def test_a_provider_whose_extra_is_not_installed_is_named_with_the_command() -> None:
    (gap,) = gaps(agent(provider="onnx"))
    assert gap.startswith("f.yaml:5: spec.model.primary.provider: the provider onnx needs an extra")
    assert gap.endswith("onnxruntime-genai is not installed; run: pip install 'astromesh[onnx]'")


def test_a_provider_that_knows_its_parameters_refuses_others() -> None:
    seeded = "[{provider: onnx, model: m, parameters: {top_k: 3, seed: 1}}, {provider: vllm, model: m}]"
    models = f", fallback: {seeded}"
    (gap,) = [gap for gap in gaps(agent(models=models)) if "needs an extra" not in gap]
    assert gap.startswith("f.yaml:5: spec.model.fallback[0].parameters.seed: onnx takes chat_template_kwargs, max_tok")
    (gap,) = gaps(agent(models=", fallback: [{provider: extractive, parameters: {temperature: 0}}]"))
    assert gap == "f.yaml:5: spec.model.fallback[0].parameters.temperature: extractive takes none"


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_every_strategy_is_built(strategy: str) -> None:
    models = f", fallback: [{{provider: extractive}}], routing: {{strategy: {strategy}}}"
    assert gaps(agent(models=models)) == []


def test_what_a_model_cannot_do_may_be_declared() -> None:
    cannot = "{tools: false, vision: false, structured_output: false}"
    offer = f"spec: {{type: ollama, models: [{{name: m, capabilities: {cannot}}}]}}\n"
    assert gaps(f"apiVersion: astromesh/v1\nkind: Provider\nmetadata: {{name: p}}\n{offer}") == []


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        ("{connection: {url: 'file:x'}}", "connection"),
    ],
)
def test_what_memory_does_not_have_yet(memory: str, field: str) -> None:
    (gap,) = gaps(agent(f"memory: {{conversational: {memory}}}"))
    assert f"spec.memory.conversational.{field}:" in gap


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any extra."""

    def nothing(name: str) -> None:
        del name

    monkeypatch.setattr(extras, "find_spec", nothing)


@pytest.mark.parametrize("backend", ["redis", "postgres"])
def test_conversations_are_kept_where_they_are_declared_to_be(backend: str) -> None:
    for strict in ("true", "false"):
        memory = f"memory: {{conversational: {{backend: {backend}, strict: {strict}}}}}"
        (resource,) = load_text(agent(memory), "f.yaml").resources
        assert (unsupported(resource), fallbacks(resource)) == ([], [])


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("backend", ["redis", "postgres"])
def test_memory_falls_back_to_sqlite_without_the_driver(backend: str) -> None:
    (resource,) = load_text(agent(f"memory: {{conversational: {{backend: {backend}}}}}"), "f.yaml").resources
    assert unsupported(resource) == []
    (fallback,) = fallbacks(resource)
    assert (fallback.field, fallback.reason) == ("spec.memory.conversational.backend", "FallbackSQLite")
    assert fallback.message.endswith(f"run: pip install 'astromesh[{backend}]'")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("backend", ["redis", "postgres"])
def test_strict_memory_is_refused_without_the_driver(backend: str) -> None:
    (gap,) = gaps(agent(f"memory: {{conversational: {{backend: {backend}, strict: true}}}}"))
    assert "spec.memory.conversational.backend:" in gap
    assert gap.endswith(f"run: pip install 'astromesh[{backend}]'")


TOOLS_OF_SERVERS = "tools: [{name: files, type: mcp, command: npx}]"


def test_tools_of_servers_need_nothing_but_the_extra() -> None:
    assert gaps(agent(TOOLS_OF_SERVERS)) == []


@pytest.mark.usefixtures("bare")
def test_tools_of_servers_are_refused_without_the_extra() -> None:
    (gap,) = gaps(agent(TOOLS_OF_SERVERS))
    assert gap == (
        "f.yaml:6: spec.tools[0].type: tools of type mcp need an extra: mcp is not installed; "
        "run: pip install 'astromesh[mcp]'"
    )


@pytest.mark.parametrize("pattern", ["react", "plan_and_execute", "parallel_fan_out", "pipeline"])
def test_a_pattern_needs_nothing_but_its_name(pattern: str) -> None:
    assert gaps(agent(f"orchestration: {{pattern: {pattern}}}")) == []


def test_a_supervisor_needs_workers() -> None:
    (gap,) = gaps(agent("orchestration: {pattern: supervisor}"))
    assert "a supervisor without workers: list orchestration.workers" in gap
    assert gaps(agent("orchestration: {pattern: supervisor, workers: [b]}")) == []
    assert gaps(agent("orchestration: {pattern: supervisor}\n  tools: [{name: t, type: agent, agent: b}]")) == []


def test_a_swarm_needs_agents() -> None:
    (gap,) = gaps(agent("orchestration: {pattern: swarm}"))
    assert "a swarm without agents: list orchestration.agents" in gap
    assert gaps(agent("orchestration: {pattern: swarm, agents: [b, c]}")) == []


def test_a_role_is_one_that_the_pattern_asks_for() -> None:
    head = "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n"
    roles = "  model: {primary: {provider: extractive}, roles: {NAME: {candidates: [{provider: extractive}]}}}\n"
    writer, planner = head + roles.replace("NAME", "writer"), head + roles.replace("NAME", "planner")
    assert gaps(writer + "  orchestration: {pattern: pipeline, stages: [{name: x, role: writer}]}\n") == []
    assert gaps(planner + "  orchestration: {pattern: plan_and_execute}\n") == []
    (gap,) = gaps(planner + "  orchestration: {pattern: pipeline}\n")
    assert "the pattern pipeline never asks for the role planner" in gap


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("embedding: {model: other}", "embedding.model"),
    ],
)
def test_what_pipelines_do_not_have_yet(spec: str, field: str) -> None:
    (gap,) = gaps(f"{PIPELINE}  {spec}\n")
    assert f"f.yaml:5: spec.{field}: " in gap


@pytest.mark.parametrize("provider", ["onnx", "sentence-transformers", "sentence_transformer", "sentence_transformers"])
@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_minilm_is_built_in_under_each_of_its_names(provider: str, model: str) -> None:
    assert gaps(f"{PIPELINE}  embeddings: {{provider: {provider}, model: {model}}}\n") == []
