"""What a pipeline's YAML says of cutting and finding, from the file to the passages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import Passage, ResourceRef
from astromesh_core.events.contents import text_content
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.user_code.modules import Modules
from astromesh_rag.documents import Listing
from astromesh_rag.given import given_text
from astromesh_rag.pipeline import Pipeline
from astromesh_rag.pipelines import Pipelines
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.opening import Stores

YAML = """
apiVersion: astromesh/v1
kind: RAGPipeline
metadata: {{name: docs}}
spec:
  {}
"""

RIVERS = "The Rhine is long. The Rhine is wide. Owls hunt mice. Owls hunt at night."


@dataclass
class Mesh:
    """The pipelines of a data folder, each declared by YAML."""

    pipelines: Pipelines
    embedder: WordEmbedder

    async def declare(self, spec: str) -> Pipeline:
        loaded = load_text(YAML.format(spec), "docs.rag.yaml")
        assert loaded.problems == ()
        (resource,) = loaded.resources
        ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs", sha256=resource.sha256)
        record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=resource.spec.to_json())
        declared = self.pipelines.put(record)
        if declared is not None:
            await self.pipelines.open(declared)
        pipeline = (await self.pipelines.get("default", "docs")).pipeline
        assert pipeline is not None
        return pipeline


@asynccontextmanager
async def mesh(folder: Path) -> AsyncGenerator[Mesh]:
    embedder = WordEmbedder()

    async def open_embedder(spec: EmbeddingsSpec) -> WordEmbedder:
        return embedder

    modules = Modules(folder / "stores")
    stores = Stores(folder, modules, {})
    pipelines = Pipelines(folder, MiniLMWords(), open_embedder, stores.open)
    yield Mesh(pipelines, embedder)
    await pipelines.close()
    modules.close()


async def texts(pipeline: Pipeline) -> list[str]:
    """What the pipeline holds, in the order of the document."""
    found = await pipeline.query("Rhine owls", 100)
    return [hit.text.text for hit in sorted(found, key=lambda hit: hit.start)]


@pytest.mark.parametrize(
    ("chunking", "expected"),
    [
        (
            "{strategy: fixed, chunk_size: 40, overlap: 2}",
            ["The Rhine is long. The Rhine is wide. Ow", "Owls hunt mice. Owls hunt at night."],
        ),
        (
            "{strategy: fixed, unit: tokens, chunkSize: 10, chunkOverlap: 1}",
            ["The Rhine is long. The Rhine is wide.", ". Owls hunt mice. Owls hunt at night."],
        ),
        (
            "{strategy: sentence, chunk_size: 40}",
            ["The Rhine is long. The Rhine is wide.", "Owls hunt mice. Owls hunt at night."],
        ),
        (
            "{strategy: sentence, chunk_size: 40, overlap: 20}",
            [
                "The Rhine is long. The Rhine is wide.",
                "The Rhine is wide. Owls hunt mice.",
                "Owls hunt mice. Owls hunt at night.",
            ],
        ),
        (
            "{strategy: semantic, chunk_size: 60, similarity_threshold: 0.3}",
            ["The Rhine is long. The Rhine is wide.", "Owls hunt mice. Owls hunt at night."],
        ),
        ("{strategy: semantic, similarity_threshold: 0.0}", [RIVERS]),
        (
            "{strategy: recursive, unit: tokens, chunk_size: 10, overlap: 0}",
            ["The Rhine is long. The Rhine is wide.", "Owls hunt mice. Owls hunt at night."],
        ),
    ],
)
async def test_documents_are_cut_as_declared(tmp_path: Path, chunking: str, expected: list[str]) -> None:
    async with mesh(tmp_path) as here:
        pipeline = await here.declare(f"chunking: {chunking}")
        await pipeline.ingest_all(Listing([given_text("a.txt", RIVERS)]))
        found = await texts(pipeline)
        assert found == expected
        for hit in await pipeline.query("Rhine owls", 100):
            assert RIVERS[hit.start : hit.end] == hit.text.text


@pytest.mark.parametrize(
    "other",
    [
        "{strategy: sentence, overlap: 50}",
        "{strategy: semantic, overlap: 50}",
        "{strategy: semantic, overlap: 50, similarity_threshold: 0.4}",
        "{unit: tokens, chunk_size: 500, overlap: 50}",
        "{separators: [x]}",
        "{overlap: 49}",
    ],
)
async def test_another_setting_of_any_kind_takes_documents_in_anew(tmp_path: Path, other: str) -> None:
    note = Listing([given_text("a.txt", RIVERS)])
    async with mesh(tmp_path) as here:
        for chunking, replaced in (("{}", 0), (other, 1), (other, 0)):
            pipeline = await here.declare(f"chunking: {chunking}")
            assert (await pipeline.ingest_all(note)).replaced == replaced
            assert (await pipeline.figures()).documents == 1


async def test_documents_of_requests_are_renewed_from_their_kept_texts(tmp_path: Path) -> None:
    async with mesh(tmp_path) as here:
        pipeline = await here.declare("chunking: {}")
        await pipeline.ingest_all(Listing([given_text("a.txt", RIVERS), given_text("b.md", "# Title\n\nOwls.")]))
        assert (await pipeline.renew()).replaced == 0
    async with mesh(tmp_path) as here:
        pipeline = await here.declare("chunking: {strategy: sentence, chunk_size: 40}")
        assert (await pipeline.renew()).replaced == 2
        assert [hit.text.text for hit in await pipeline.query("Rhine", 1)] == ["The Rhine is long. The Rhine is wide."]
        embedded = len(here.embedder.embedded)
        assert (await pipeline.renew()).replaced == 0
        assert (await pipeline.ingest_all(Listing([given_text("a.txt", RIVERS)]))).unchanged == 1
        assert len(here.embedder.embedded) == embedded


async def test_a_document_without_a_kept_text_is_reported_until_it_is_sent_again(tmp_path: Path) -> None:
    async with mesh(tmp_path) as here:
        pipeline = await here.declare("chunking: {}")
        kept = Passage(source="old", start=0, end=5, text=text_content("Owls."))
        await pipeline.store.put("given:old", b"1", [kept], await here.embedder.embed(["Owls."]))
        for _ in range(2):
            assert list((await pipeline.renew()).refused) == [
                "old: was taken in with other settings, and its text is not kept; send it again"
            ]
        assert len(await pipeline.query("owls", 0)) == 1
        await pipeline.ingest_all(Listing([given_text("old", "Owls.")]))
        assert list((await pipeline.renew()).refused) == []


BIRDS = [
    ("a.txt", "Owls hunt mice at night."),
    ("b.txt", "Owls hunt mice at night, too."),
    ("c.txt", "The option owl_depth is 7."),
    ("d.txt", "Owls sleep."),
]


@pytest.mark.parametrize(
    ("retrieval", "question", "expected"),
    [
        ("{top_k: 2}", "owls hunt mice at night", ["a.txt", "b.txt"]),
        ("{top_k: 2, mmr: {lambda: 0.3}}", "owls hunt mice at night", ["a.txt", "c.txt"]),
        ("{top_k: 2, mmr: {lambdaMult: 1.0}}", "owls hunt mice at night", ["a.txt", "b.txt"]),
        ("{similarity_threshold: 0.9}", "owls hunt mice at night", ["a.txt", "b.txt"]),
        ("{similarityThreshold: 0.99}", "owls sleep", ["d.txt"]),
        ("{similarity_threshold: 0.9}", "elephants", []),
        ("{mode: keyword}", "owl_depth", ["c.txt"]),
        ("{mode: keyword}", "elephants", []),
        ("{mode: keyword, top_k: 1}", "do owls sleep?", ["d.txt"]),
        ("{mode: hybrid, top_k: 1}", "owl_depth", ["c.txt"]),
        ("{mode: hybrid, similarity_threshold: 0.99}", "sleep", ["d.txt"]),
        ("{mode: hybrid, top_k: 2, mmr: {lambda: 0.1}}", "owls hunt mice at night", ["a.txt", "c.txt"]),
        ("{mode: keyword, top_k: 2, mmr: {lambda: 0.1}}", "owls hunt mice at night", ["a.txt", "c.txt"]),
    ],
)
async def test_passages_are_found_as_declared(
    tmp_path: Path, retrieval: str, question: str, expected: list[str]
) -> None:
    async with mesh(tmp_path) as here:
        pipeline = await here.declare(f"retrieval: {retrieval}")
        await pipeline.ingest_all(Listing([given_text(source, text) for source, text in BIRDS]))
        hits = await pipeline.query(question, 0)
        assert [hit.source for hit in hits] == expected
        for hit in hits:
            assert hit.sha256 == hashlib.sha256(hit.text.text.encode()).digest()
            assert (hit.start, hit.end) == (0, len(hit.text.text))
            assert 0.0 < hit.score <= 1.0 + 1e-6


async def test_keywords_are_looked_for_without_the_model(tmp_path: Path) -> None:
    async with mesh(tmp_path) as here:
        pipeline = await here.declare("retrieval: {mode: keyword}")
        await pipeline.ingest_all(Listing([given_text(source, text) for source, text in BIRDS]))
        embedded = len(here.embedder.embedded)
        assert await pipeline.query("sleep", 0)
        assert len(here.embedder.embedded) == embedded


async def test_another_way_of_finding_takes_nothing_in_anew(tmp_path: Path) -> None:
    note = Listing([given_text("a.txt", RIVERS)])
    async with mesh(tmp_path) as here:
        await (await here.declare("retrieval: {mode: vector}")).ingest_all(note)
        pipeline = await here.declare("retrieval: {mode: hybrid, mmr: {}, similarity_threshold: 0.2}")
        assert (await pipeline.ingest_all(note)).unchanged == 1
        assert len(await pipeline.query("Rhine", 0)) == 1


@pytest.mark.parametrize("metric", ["cosine", "ip", "dot", "l2"])
async def test_the_nearest_by_each_distance_are_found(tmp_path: Path, metric: str) -> None:
    words = ("owls", "mice", "night", "hunt", "sleep")
    texts_of = [
        " ".join(words[place % 5] for place in range(start, start + length))
        for start in range(5)
        for length in (1, 3, 7)
    ]
    question = "owls mice night night"
    async with mesh(tmp_path) as here:
        # What was taken in under one distance is found by another.
        await (await here.declare("vector_store: {}")).ingest_all(
            Listing([given_text(f"{number}", text) for number, text in enumerate(texts_of)])
        )
        pipeline = await here.declare(f"vector_store: {{distanceMetric: {metric}}}")
        stored, (asked,) = await here.embedder.embed(texts_of), await here.embedder.embed([question])
        hits = await pipeline.query(question, 6)
        lengths = np.linalg.norm(stored - asked, axis=1)
        distances = {"cosine": 1 - stored @ asked, "ip": -(stored @ asked), "dot": -(stored @ asked), "l2": lengths}[
            metric
        ]
        found = [distances[int(hit.source)] for hit in hits]
        assert found == pytest.approx(np.sort(distances)[:6].tolist(), abs=1e-6)


@pytest.mark.parametrize("page", ["retrieval.md", "embeddings.md"])
def test_the_examples_of_the_guides_are_served(page: str) -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / page).read_text()
    examples = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert len(examples) > 1
    for example in examples:
        loaded = load_text(example, f"docs/{page}")
        assert loaded.problems == ()
        assert [unsupported(resource) for resource in loaded.resources] == [[]]
        assert all(isinstance(resource.spec, RAGPipelineSpec) for resource in loaded.resources)


async def test_questions_and_passages_are_read_behind_their_prefixes_and_passages_of_others_are_apart(
    tmp_path: Path,
) -> None:
    async with mesh(tmp_path) as here:
        plain = await here.declare("embeddings: {query_prefix: 'q: '}")
        await plain.ingest_all(Listing([given_text("a.txt", RIVERS)]))
        assert here.embedder.embedded == [RIVERS]
        await plain.query("Rhine", 1)
        assert here.embedder.embedded[1:] == ["q: Rhine"]
        prefixed = await here.declare("embeddings: {query_prefix: 'q: ', passage_prefix: 'p: '}")
        assert prefixed.store is not plain.store
        await prefixed.ingest_all(Listing([given_text("a.txt", RIVERS)]))
        assert here.embedder.embedded[2:] == [f"p: {RIVERS}"]
        assert await texts(prefixed) == [RIVERS]
