"""Which embedding models a resource may name, and which combinations of fields are refused."""

from __future__ import annotations

import pytest

from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec

YAML = """
apiVersion: astromesh/v1
kind: RAGPipeline
metadata: {{name: docs}}
spec:
  embeddings: {}
"""


def embeddings(written: str) -> EmbeddingsSpec:
    loaded = load_text(YAML.format(written), "docs.rag.yaml")
    assert loaded.problems == ()
    (resource,) = loaded.resources
    assert isinstance(resource.spec, RAGPipelineSpec)
    return resource.spec.embeddings


@pytest.mark.parametrize(
    ("written", "provider", "model", "dimension"),
    [
        ("{}", "sentence_transformers", "all-MiniLM-L6-v2", 384),
        ("{provider: onnx}", "onnx", "all-MiniLM-L6-v2", 384),
        ("{provider: ollama}", "ollama", "nomic-embed-text", 768),
        ("{provider: ollama, model: 'nomic-embed-text:latest'}", "ollama", "nomic-embed-text:latest", 768),
        ("{provider: huggingface-api}", "huggingface", "BAAI/bge-small-en-v1.5", 384),
        ("{provider: hf, model: own/model}", "huggingface", "own/model", None),
        ("{provider: 'pkg.mod:Mine'}", "pkg.mod:Mine", "Mine", None),
        ("{provider: 'pkg.mod:Mine', model: nomic-embed-text}", "pkg.mod:Mine", "nomic-embed-text", None),
    ],
)
def test_each_provider_has_a_model_of_its_own(written: str, provider: str, model: str, dimension: int | None) -> None:
    spec = embeddings(written)
    assert (spec.provider, spec.model, spec.known_dimension) == (provider, model, dimension)
    assert EmbeddingsSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{endpoint: 'http://e'}", "embeds in this process and has no endpoint"),
        ("{provider: onnx, api_key: '${KEY}'}", "embeds in this process and has no api_key"),
        ("{provider: olama}", "did you mean 'ollama'"),
        ("{provider: cohere}", "it is one of onnx, sentence_transformers, huggingface, ollama"),
        ("{provider: 'pkg/mod:Mine'}", "write my_package.my_module:MyEmbedder"),
        ("{provider: ollama, endpoint: 'http://me:${PW}@e'}", "has a user name or a password in its endpoint"),
        ("{provider: ollama, dimension: 0}", "dimension"),
        ("{provider: ollama, model: ''}", "model"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(written: str, reason: str) -> None:
    loaded = load_text(YAML.format(written), "docs.rag.yaml")
    (problem,) = loaded.problems
    assert str(problem).startswith("docs.rag.yaml:6: spec.embeddings")
    assert reason in str(problem)


@pytest.mark.parametrize("written", ["{provider: ollama}", "{provider: hf}", "{provider: 'a:B'}", "{}"])
def test_what_is_built_is_served(written: str) -> None:
    (resource,) = load_text(YAML.format(written), "docs.rag.yaml").resources
    assert unsupported(resource) == []


def test_another_model_of_sentence_transformers_names_the_extra_that_it_needs() -> None:
    (resource,) = load_text(YAML.format("{model: BAAI/bge-small-en-v1.5}"), "docs.rag.yaml").resources
    (gap,) = unsupported(resource)
    assert str(gap).startswith("docs.rag.yaml:6: spec.embeddings.model: ")
    assert "pip install 'astromesh[torch]'" in str(gap)


@pytest.mark.parametrize(
    ("written", "query", "passage"),
    [
        ("{provider: ollama}", "search_query: ", "search_document: "),
        ("{provider: ollama, model: 'nomic-embed-text:v1.5'}", "search_query: ", "search_document: "),
        ("{provider: hf, model: intfloat/multilingual-e5-base}", "query: ", "passage: "),
        ("{provider: hf}", "Represent this sentence for searching relevant passages: ", ""),
        ("{provider: hf, model: BAAI/bge-m3}", "", ""),
        ("{}", "", ""),
        ("{provider: ollama, query_prefix: '', passage_prefix: 'doc: '}", "", "doc: "),
        ("{provider: 'pkg.mod:Mine', model: e5-base}", "", ""),
        ("{provider: 'pkg.mod:Mine', query_prefix: 'q: '}", "q: ", ""),
    ],
)
def test_a_model_reads_its_documented_prefixes_unless_others_are_declared(
    written: str, query: str, passage: str
) -> None:
    (resource,) = load_text(YAML.format(written), "docs.rag.yaml").resources
    assert isinstance(resource.spec, RAGPipelineSpec)
    assert resource.spec.embeddings.prefixes == (query, passage)
