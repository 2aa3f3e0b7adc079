"""Files of users of earlier versions: what loads, what is refused and why."""

from __future__ import annotations

import pytest

from astromesh_core.resources import extras
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_tools import BuiltinTool
from astromesh_core.resources.builtin_configs import DatetimeNowConfig
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.runtime_config import RuntimeConfigSpec

PARCEL_DESK = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: parcel-desk, version: "1.2.0", labels: {team: ops}}
spec:
  model:
    primary: {provider: openai_compat, model: small-1, endpoint: "http://llm:9000/v1", api_key_env: LLM_KEY}
    routing: {strategy: round_robin}
  prompts: {system: "You answer parcel questions. {{ knowledge }}"}
  orchestration: {pattern: react, max_iterations: 6, timeout_seconds: 45}
  knowledge: {pipeline: parcel-kb, top_k: 4}
  guardrails: {input: [{type: pii_detection, action: redact}]}
"""


def good(text: str) -> Loaded:
    loaded = load_text(text, "file.yaml")
    assert loaded.problems == ()
    return loaded


def test_an_agent_loads_and_one_candidate_needs_no_strategy() -> None:
    (agent,) = good(PARCEL_DESK).resources
    assert unsupported(agent) == []
    assert agent.version == "1.2.0"


def test_a_built_in_tool_keeps_its_name() -> None:
    (agent,) = good(PARCEL_DESK + "  tools: [{name: datetime_now, type: builtin}]\n").resources
    assert unsupported(agent) == []
    assert isinstance(agent.spec, AgentSpec)
    assert AgentSpec.from_json(agent.spec.to_json()) == agent.spec
    (tool,) = agent.spec.tools
    assert isinstance(tool, BuiltinTool)
    assert (tool.name, tool.tool, tool.config) == ("datetime_now", "datetime_now", DatetimeNowConfig())


@pytest.mark.parametrize(
    ("name", "instead"),
    [("web_search", "type: webhook"), ("write_file", "Python function"), ("rag_query", "type: rag")],
)
def test_a_built_in_tool_that_is_gone_is_refused_with_what_to_do_instead(name: str, instead: str) -> None:
    text = PARCEL_DESK + f"  tools: [{{name: {name}, type: builtin}}]\n"
    (problem,) = load_text(text, "desk.agent.yaml").problems
    assert str(problem).startswith(f"desk.agent.yaml:12: spec.tools[0]: names the built-in tool '{name}', which")
    assert instead in problem.hint


def test_a_tool_that_asks_postgres_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        PARCEL_DESK
        + "  tools:\n    - {name: sql_query, type: builtin, config: {connection_string: 'postgresql://h/d'}}\n"
    )
    (agent,) = good(text).resources
    assert unsupported(agent) == []

    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(extras, "find_spec", nothing)
    (gap,) = unsupported(agent)
    assert (gap.field, gap.line) == ("spec.tools[0].config.connection_string", 13)
    assert "pip install 'astromesh[postgres]'" in gap.reason


def test_fallback_as_a_mapping_is_a_list_of_one() -> None:
    text = PARCEL_DESK.replace(
        "    routing: {", "    fallback: {source: ollama, model: tiny, timeout: 5}\n    routing: {"
    )
    (agent,) = good(text).resources
    assert isinstance(agent.spec, AgentSpec)
    (fallback,) = agent.spec.model.fallback
    assert (fallback.provider, fallback.timeout_seconds) == ("ollama", 5.0)


def test_a_model_without_a_provider_is_openai_compatible() -> None:
    (agent,) = good(PARCEL_DESK.replace("provider: openai_compat, ", "")).resources
    assert isinstance(agent.spec, AgentSpec)
    assert agent.spec.model.first.provider == "openai_compat"


def test_a_provider_config_is_several_providers() -> None:
    text = """\
apiVersion: astromesh/v1
kind: ProviderConfig
metadata: {name: lab}
spec:
  providers:
    lab-llm: {type: openai_compat, endpoint: "http://llm:9000/v1", api_key_env: LLM_KEY, models: [small-1]}
    other: {type: ollama}
"""
    lab, other = good(text).resources
    assert (str(lab.key), str(other.key)) == ("Provider default/lab-llm", "Provider default/other")
    assert isinstance(lab.spec, ProviderSpec)
    assert [model.name for model in lab.spec.models] == ["small-1"]
    assert lab.locate(("endpoint",)) == ("file.yaml", "spec.providers.lab-llm.endpoint", 6)


def test_one_bad_provider_does_not_spoil_the_others() -> None:
    text = "apiVersion: astromesh/v1\nkind: ProviderConfig\nmetadata: {name: lab}\nspec:\n  providers:\n"
    loaded = load_text(text + "    good: {type: ollama}\n    bad: {type: litellm}\n", "providers.yaml")
    assert [resource.name for resource in loaded.resources] == ["good"]
    (problem,) = loaded.problems
    assert (problem.line, problem.path, problem.resource) == (7, "spec.providers.bad.type", "Provider default/bad")


def test_runtime_settings_load() -> None:
    text = """\
apiVersion: astromesh/v1
kind: RuntimeConfig
metadata: {name: edge}
spec: {api: {host: 127.0.0.1, port: 8100}, services: {channels: false}}
"""
    (config,) = good(text).resources
    assert isinstance(config.spec, RuntimeConfigSpec)
    assert (config.spec.api.port, config.spec.services.channels) == (8100, False)
    assert unsupported(config) == []


def test_telemetry_is_also_spelt_observability() -> None:
    text = """\
apiVersion: astromesh/v1
kind: RuntimeConfig
metadata: {name: edge}
spec: {observability: {otlp: {enabled: true, endpoint: "http://otel:4318"}}, services: {api: true, inference: true}}
"""
    (config,) = good(text).resources
    assert isinstance(config.spec, RuntimeConfigSpec)
    assert config.spec.telemetry.otlp is not None
    assert config.spec.telemetry.otlp.endpoint == "http://otel:4318"


def test_a_channels_file_needs_neither_version_nor_kind() -> None:
    text = """\
channels:
  whatsapp:
    verify_token: "${WA_VERIFY}"
    app_secret: "${WA_SECRET}"
    access_token: "${WA_TOKEN}"
    phone_number_id: "${WA_PNID}"
    default_agent: parcel-desk
    rate_limit: {window_seconds: 60, max_messages: 30}
"""
    (channel,) = good(text).resources
    assert str(channel.key) == "Channel default/whatsapp"
    assert isinstance(channel.spec, ChannelSpec)
    assert channel.spec.webhook.verify_token == "${WA_VERIFY}"
    assert channel.spec.credentials.phone_number_id == "${WA_PNID}"
    (gap,) = unsupported(channel)
    assert gap.reason == "whatsapp channels are not built yet"


PARCEL_KB = """\
apiVersion: astromesh/v1
kind: RAGPipeline
metadata: {name: parcel-kb}
spec:
  chunking: {strategy: recursive, chunk_size: 400, overlap: 40}
  embeddings: {provider: ollama, model: nomic-embed-text, endpoint: "http://ollama:11434", dimension: 768}
  vector_store: {backend: pgvector, dsn: "postgresql://u:${DB_PASSWORD}@db/kb", collection: parcel_docs}
"""


def test_a_pipeline_loads_as_it_is() -> None:
    (pipeline,) = good(PARCEL_KB).resources
    assert isinstance(pipeline.spec, RAGPipelineSpec)
    assert unsupported(pipeline) == []


def test_a_password_in_an_address_is_refused() -> None:
    (problem,) = load_text(PARCEL_KB.replace("${DB_PASSWORD}", "hunter2"), "kb.rag.yaml").problems
    assert (problem.line, problem.path, problem.code) == (7, "spec.vector_store.dsn", "SecretValue")
    assert "hunter2" not in str(problem)


def test_parameters_in_short_form_become_a_schema() -> None:
    tool = 'tools: [{name: add, type: internal, function: "shop:add", parameters: {a: {type: number, description: x}}}]'
    (agent,) = good(f"{PARCEL_DESK}  {tool}\n").resources
    schema = '"parameters":{"properties":{"a":{"description":"x","type":"number"}},"type":"object"}'
    assert schema in agent.spec_json


@pytest.mark.parametrize("strategy", ["cost_optimized", "latency_optimized", "quality_first", "capability_match"])
def test_every_strategy_means_the_same_for_one_candidate(strategy: str) -> None:
    (agent,) = good(PARCEL_DESK.replace("round_robin", strategy)).resources
    assert unsupported(agent) == []
