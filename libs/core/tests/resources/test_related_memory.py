"""Semantic and episodic memory as agents declare them: what is served, falls back, or is refused with its place."""

from __future__ import annotations

import pytest

from astromesh_core.resources import extras
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.features import fallbacks, unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.resource import Resource


def agent(memory: str) -> Resource:
    head = "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: desk}\n"
    text = f"{head}spec: {{model: {{primary: {{provider: extractive}}}}, memory: {{{memory}}}}}\n"
    loaded = load_text(text, "f.yaml")
    assert loaded.problems == ()
    (resource,) = loaded.resources
    return resource


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any extra."""

    def nothing(name: str) -> None:
        del name

    monkeypatch.setattr(extras, "find_spec", nothing)


@pytest.mark.parametrize(
    "memory",
    [
        "semantic: {backend: faiss}",
        "semantic: {backend: pgvector, collection: support-knowledge}",
        "semantic: {backend: faiss, scope: session, similarityThreshold: 0.5, maxResults: 3, ttl: 60}",
        "episodic: {}",
        "episodic: {backend: sqlite, scope: agent, on_unavailable: continue}",
        "episodic: {backend: postgres, connection: {url: '${DSN}'}, strict: true}",
    ],
)
def test_it_is_served_as_declared(memory: str) -> None:
    resource = agent(memory)
    assert (unsupported(resource), fallbacks(resource)) == ([], [])


def test_nobody_shares_memory_unless_it_is_declared() -> None:
    spec = agent("semantic: {backend: faiss}, episodic: {}").spec
    assert isinstance(spec, AgentSpec)
    assert spec.memory.semantic is not None
    assert spec.memory.episodic is not None
    assert (spec.memory.semantic.scope, spec.memory.episodic.scope) == ("user", "user")


@pytest.mark.usefixtures("bare")
def test_episodes_fall_back_to_sqlite_without_the_driver_unless_they_are_strict() -> None:
    (fallback,) = fallbacks(agent("episodic: {backend: postgres}"))
    assert (fallback.field, fallback.reason) == ("spec.memory.episodic.backend", "FallbackSQLite")
    assert fallback.message.endswith("run: pip install 'astromesh[postgres]'")
    strict = agent("episodic: {backend: postgres, strict: true}")
    assert fallbacks(strict) == []
    (gap,) = unsupported(strict)
    assert gap.field == "spec.memory.episodic.backend"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("memory", "field"),
    [
        ("semantic: {backend: pgvector}", "spec.memory.semantic.backend"),
        ("semantic: {backend: faiss, embeddings: {model: other}}", "spec.memory.semantic.embeddings.model"),
        ("episodic: {backend: sqlite, connection: {url: 'file:x'}}", "spec.memory.episodic.connection"),
    ],
)
def test_what_cannot_be_served_is_told_with_its_place(memory: str, field: str) -> None:
    (gap,) = unsupported(agent(memory))
    assert (gap.field, gap.file, gap.line) == (field, "f.yaml", 4)
