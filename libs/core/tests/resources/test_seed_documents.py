"""Every example of the product's two documents loads, and says which of its features this release does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from astromesh_core.resources import extras
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.columns import headings
from astromesh_core.resources.features import fallbacks, unsupported
from astromesh_core.resources.fields import Models, descend
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.secrets import SecretKeyRef
from astromesh_core.resources.yaml_documents import read_documents

SEEDS = Path(__file__).parent / "seeds"


def load(name: str) -> Resource:
    loaded = load_text((SEEDS / name).read_text(), name)
    assert loaded.problems == ()
    assert len(loaded.resources) == 1
    return loaded.resources[0]


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("support-agent.yaml", []),
        ("ollama-local.yaml", []),
        ("whatsapp-support.yaml", ["spec.type"]),
        ("support-kb.yaml", []),
        ("minimal-agent.yaml", []),
    ],
)
def test_names_each_field_that_is_not_built_as_it_was_written(file: str, fields: list[str]) -> None:
    gaps = unsupported(load(file))
    assert [gap.field for gap in gaps] == fields
    lines = (SEEDS / file).read_text().splitlines()
    for gap in gaps:
        assert gap.file == file
        assert gap.field.split(".")[-1].split("[")[0] in lines[gap.line - 1]


def test_an_agent_keeps_what_the_example_says() -> None:
    agent = load("support-agent.yaml")
    assert str(agent.key) == "Agent production/support-agent"
    assert agent.labels == {"team": "customer-support", "tier": "frontend"}
    spec = agent.spec
    assert isinstance(spec, AgentSpec)
    assert [candidate.provider for candidate in spec.model.candidates] == ["ollama", "openai_compat"]
    assert spec.model.first.parameters == {"temperature": 0.7, "max_tokens": 2048}
    assert spec.memory.conversational is not None
    assert spec.memory.conversational.max_turns == 20
    assert "{{ semantic_context }}" in spec.prompts.system


def test_redis_memory_falls_back_to_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        del name

    monkeypatch.setattr(extras, "find_spec", nothing)
    (fallback,) = fallbacks(load("support-agent.yaml"))
    assert (fallback.field, fallback.reason) == ("spec.memory.conversational.backend", "FallbackSQLite")


def test_camel_case_reads_as_snake_case() -> None:
    spec = load("support-kb.yaml").spec
    assert isinstance(spec, RAGPipelineSpec)
    assert (spec.chunking.chunk_size, spec.chunking.overlap) == (512, 50)
    assert (spec.embeddings.provider, spec.embeddings.dimension) == ("sentence_transformers", 384)
    assert spec.vector_store.distance_metric == "cosine"
    assert spec.reranking.top_k == 5


def test_secrets_of_kubernetes_stay_references() -> None:
    channel = load("whatsapp-support.yaml")
    assert isinstance(channel.spec, ChannelSpec)
    assert isinstance(channel.spec.credentials.app_secret, SecretKeyRef)
    assert '"secret_key_ref":{"key":"app-secret","name":"whatsapp-credentials"}' in channel.spec_json


def test_every_field_of_the_definition_is_a_field_of_the_agent() -> None:
    schema = definition()["schema"]
    assert isinstance(schema, dict)
    for path in _declared(schema["openAPIV3Schema"]):
        models: Models = frozenset((AgentSpec,))
        for segment in path[1:]:
            assert any(segment in model.model_fields for model in models), path
            _, models = descend(models, segment)


def test_agents_are_printed_under_the_columns_of_the_definition() -> None:
    columns = definition()["additionalPrinterColumns"]
    assert isinstance(columns, list)
    names = [str(column["name"]).upper() for column in columns if isinstance(column, dict)]
    assert headings("Agent") == ["NAME", *names]


def test_a_definition_is_no_resource() -> None:
    loaded = load_text((SEEDS / "agent-definition.yaml").read_text(), "agent-definition.yaml")
    (problem,) = loaded.problems
    assert (problem.line, problem.path, problem.code) == (2, "kind", "UnknownKind")


def definition() -> dict[str, JsonValue]:
    (document,), _ = read_documents((SEEDS / "agent-definition.yaml").read_text(), "agent-definition.yaml")
    assert isinstance(document.value, dict)
    spec = document.value["spec"]
    assert isinstance(spec, dict)
    versions = spec["versions"]
    assert isinstance(versions, list)
    version = versions[0]
    assert isinstance(version, dict)
    return version


def _declared(schema: JsonValue, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        yield path
        return
    for name, inner in properties.items():
        yield from _declared(inner, (*path, name))
