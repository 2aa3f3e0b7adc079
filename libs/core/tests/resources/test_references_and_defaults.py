"""Checks across resources, and what the mesh gives to agents that leave it out."""

from __future__ import annotations

from pydantic import JsonValue

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.defaults import with_defaults
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.parsing import parse_resource
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.validation import check

HEAD = "---\napiVersion: astromesh/v1\n"
KB = HEAD + "kind: RAGPipeline\nmetadata: {name: kb, namespace: shared}\nspec: {}\n"
OLLAMA = HEAD + "kind: Provider\nmetadata: {name: local}\nspec: {type: ollama, models: [m]}\n"


def agent(name: str = "a", pipeline: str = "shared/kb", provider: str = "local", more: str = "") -> str:
    return (
        f"{HEAD}kind: Agent\nmetadata: {{name: {name}}}\nspec:\n"
        f"  model: {{primary: {{providerRef: {provider}}}}}\n"
        f"  tools: [{{name: find, type: rag, pipeline: {pipeline}}}]\n{more}"
    )


def resources(*texts: str) -> list[Resource]:
    loaded = load_text("".join(texts), "all.yaml")
    assert loaded.problems == ()
    return list(loaded.resources)


def test_finds_nothing_wrong_where_every_reference_leads_somewhere() -> None:
    assert check(resources(KB, OLLAMA, agent())) == []


def test_names_an_unknown_provider_and_the_nearest_one() -> None:
    (problem,) = check(resources(KB, OLLAMA, agent(provider="locale")))
    assert (problem.code, problem.path, problem.line) == ("UnknownProvider", "spec.model.primary.providerRef", 16)
    assert problem.hint == "did you mean 'local'?"
    assert problem.resource == "Agent default/a"


def asking(name: str, *agents: str) -> str:
    tools = ", ".join(f"{{name: ask-{other}, type: agent, agent: {other}}}" for other in agents)
    return (
        f"{HEAD}kind: Agent\nmetadata: {{name: {name}}}\nspec:\n"
        f"  model: {{primary: {{providerRef: local}}}}\n  tools: [{tools}]\n"
    )


def test_an_agent_that_is_a_tool_exists_and_does_not_come_back_to_itself() -> None:
    assert check(resources(OLLAMA, asking("a", "b", "c"), asking("b", "c"), asking("c"))) == []
    (unknown,) = check(resources(OLLAMA, asking("a", "bee"), asking("bees")))
    assert (unknown.code, unknown.path, unknown.hint) == (
        "UnknownAgent",
        "spec.tools[0].agent",
        "did you mean 'bees'?",
    )
    cycles = check(resources(OLLAMA, asking("a", "b"), asking("b", "c"), asking("c", "a"), asking("d", "a")))
    assert [(each.code, each.path, each.reason) for each in cycles] == [
        ("AgentCycle", "spec.tools[0].agent", "would run itself: a > b > c > a"),
        ("AgentCycle", "spec.tools[0].agent", "would run itself: b > c > a > b"),
        ("AgentCycle", "spec.tools[0].agent", "would run itself: c > a > b > c"),
    ]


def test_a_candidate_adds_nothing_to_its_provider_that_nobody_would_read() -> None:
    quoting = HEAD + "kind: Provider\nmetadata: {name: quoting}\nspec: {type: extractive}\n"
    bad = (
        f"{HEAD}kind: Agent\nmetadata: {{name: b}}\nspec:\n  model:\n"
        "    primary: {providerRef: local, api_version: '2024-10-21'}\n"
        "    fallback:\n"
        "      - {providerRef: quoting, endpoint: 'http://127.0.0.1:1'}\n"
        "      - {providerRef: quoting, temperature: 0.2}\n"
        "      - {providerRef: local, endpoint: 'http://127.0.0.1:1', temperature: 0.2}\n"
    )
    problems = check(resources(OLLAMA, quoting, bad))
    assert {problem.code for problem in problems} == {"ProviderMismatch"}
    assert [str(problem).partition(": ")[2] for problem in problems] == [
        "spec.model.primary: has an api_version (leave it out; of azure_openai alone there are versions)",
        "spec.model.fallback[0]: names an endpoint, which is never used (leave it out; it is part of the router)",
        "spec.model.fallback[1].parameters.temperature: is nothing that extractive takes (remove it)",
    ]


def test_a_reference_without_namespace_stays_in_its_own() -> None:
    (problem,) = check(resources(KB, OLLAMA, agent(pipeline="kb")))
    assert (problem.code, problem.path) == ("UnknownPipeline", "spec.tools[0].pipeline")
    assert problem.hint == "in another namespace: write shared/kb"


def test_knowledge_and_default_agent_are_references_too() -> None:
    channel = HEAD + "kind: Channel\nmetadata: {name: c}\nspec: {type: slack, defaultAgent: nobody}\n"
    problems = check(resources(KB, OLLAMA, agent(more="  knowledge: {pipeline: gone}\n"), channel))
    assert [problem.code for problem in problems] == ["UnknownPipeline", "UnknownAgent"]


def test_a_name_is_given_once_in_a_namespace() -> None:
    (problem,) = check(resources(KB, OLLAMA, agent(), agent()))
    assert problem.code == "DuplicateName"
    assert "all.yaml:" in problem.reason


def test_dimensions_agree_with_the_model_and_the_store() -> None:
    spec = "{embeddings: {model: all-MiniLM-L6-v2, dimension: 768}, vector_store: {dimensions: 100}}"
    problems = check(resources(f"{HEAD}kind: RAGPipeline\nmetadata: {{name: p}}\nspec: {spec}\n"))
    assert [(problem.code, problem.path) for problem in problems] == [
        ("DimensionMismatch", "spec.embeddings.dimension"),
        ("DimensionMismatch", "spec.vector_store.dimensions"),
    ]


def test_agents_take_only_what_they_leave_out_from_the_defaults() -> None:
    config = RuntimeConfigSpec.from_json('{"defaults": {"orchestration": {"max_iterations": 3, "timeout": 9}}}')
    primary: JsonValue = {"provider": "ollama", "model": "m"}
    said = parse_resource(
        {
            "apiVersion": "astromesh/v1",
            "kind": "Agent",
            "metadata": {"name": "a"},
            "spec": {"model": {"primary": primary}, "orchestration": {"max_iterations": 5}},
        }
    )
    filled = with_defaults(said, config.defaults)
    assert isinstance(filled.spec, AgentSpec)
    assert (filled.spec.orchestration.max_iterations, filled.spec.orchestration.timeout_seconds) == (5, 9.0)
    assert filled.sha256 != said.sha256
