"""Where a pipeline's and a memory's vectors are kept: what each store takes, in both spellings, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from astromesh_core.resources.agent_memory import SemanticMemory
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec, VectorStore
from astromesh_core.resources.stores import Connection, StorePlace

PIPELINE = "apiVersion: astromesh/v1\nkind: RAGPipeline\nmetadata: {name: kb}\nspec:\n  "


def place(text: str) -> StorePlace:
    loaded = load_text(f"{PIPELINE}vector_store: {text}\n", "f.yaml")
    assert loaded.problems == ()
    (pipeline,) = loaded.resources
    assert isinstance(pipeline.spec, RAGPipelineSpec)
    assert unsupported(pipeline) == []
    return pipeline.spec.vector_store.place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", StorePlace("faiss")),
        ("{backend: faiss, index: hnsw, distance_metric: dot}", StorePlace("faiss", "ip", "hnsw")),
        ("{backend: chromadb, persistDirectory: ./x}", StorePlace("chroma", path="./x")),
        ("{backend: chroma, persist_directory: ./x}", StorePlace("chroma", path="./x")),
        ("{backend: chroma, host: c, port: 8000}", StorePlace("chroma", host="c", port=8000)),
        (
            "{backend: qdrant, url: 'http://q:6333', apiKey: '${QDRANT_KEY}', distanceMetric: l2}",
            StorePlace("qdrant", "l2", url="http://q:6333", api_key="${QDRANT_KEY}"),
        ),
        (
            "{backend: qdrant, connection: {host: q, port: 6333}}",
            StorePlace("qdrant", connection=Connection(host="q", port=6333)),
        ),
        (
            "{backend: 'shop.stores:Mine', parameters: {shard: 3}}",
            StorePlace("shop.stores:Mine", parameters_json='{"shard":3}'),
        ),
    ],
)
def test_each_way_to_say_where_vectors_are(text: str, expected: StorePlace) -> None:
    assert place(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{backend: milvus}", "cannot be 'milvus'"),
        ("{backend: 'shop:stores:Mine'}", "is no class"),
        ("{backend: faiss, url: 'http://q:6333'}", "faiss has no url"),
        ("{backend: faiss, api_key: '${K}'}", "faiss has no api_key"),
        ("{backend: qdrant, dsn: 'postgres://q'}", "qdrant has no dsn"),
        ("{backend: chroma, index: flat}", "chroma has no index"),
        ("{backend: chroma, persist_directory: x, host: c}", "host and persist_directory"),
        ("{backend: qdrant, url: 'http://q', host: q}", "url and host"),
        ("{backend: qdrant, port: 6333}", "has a port and no host"),
        ("{backend: qdrant, api_key: '${K}'}", "has an api_key and no server"),
        ("{backend: qdrant, connection: {host: q, user: me}}", "qdrant has no connection.user"),
        ("{backend: qdrant, connection: {url: 'postgres://q'}}", "is not an http address"),
        ("{backend: qdrant, parameters: {a: 1}}", "qdrant has no parameters"),
        ("{backend: 'shop.stores:Mine', distance_metric: l2}", "has no distance_metric"),
    ],
)
def test_what_a_store_would_not_read_is_refused_with_its_place(text: str, reason: str) -> None:
    (problem,) = load_text(f"{PIPELINE}vector_store: {text}\n", "f.yaml").problems
    assert reason in str(problem)
    assert "spec.vector_store" in str(problem)


def test_a_memory_says_the_same_of_itself() -> None:
    memory = SemanticMemory.model_validate_json('{"backend": "chroma", "path": "kept"}')
    assert memory.place == StorePlace("chroma", path="kept")
    with pytest.raises(ValidationError, match="two places"):
        SemanticMemory.model_validate_json('{"backend": "qdrant", "path": "x", "connection": {"host": "q"}}')


def test_a_store_without_its_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_nothing(module: str) -> None:
        del module

    monkeypatch.setattr("astromesh_core.resources.extras.find_spec", finds_nothing)
    (pipeline,) = load_text(f"{PIPELINE}store: {{backend: qdrant}}\n", "f.yaml").resources
    (gap,) = unsupported(pipeline)
    assert gap.field == "spec.store.backend"
    assert "pip install 'astromesh[qdrant]'" in gap.reason


def test_the_default_is_written_out_in_full() -> None:
    assert VectorStore().place == VectorStore.model_validate_json('{"backend": "faiss"}').place
