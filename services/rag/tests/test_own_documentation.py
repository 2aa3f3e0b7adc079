"""The three ways of finding on the documentation that ships with the project, with the real model."""

from __future__ import annotations

import re
from pathlib import Path

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.rag_pipeline import DirectorySource, RAGPipelineSpec, Retrieval
from astromesh_rag.folders import list_files
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.shared import SharedMiniLM
from astromesh_vectors.minilm.tokens import MiniLMWords

CONFIG = Path(__file__).resolve().parents[3] / "config"
IDENTIFIER = re.compile(r"`-*(\w+(?:[_-]\w+)+)`")


async def test_keywords_find_identifiers_that_vectors_miss(tmp_path: Path) -> None:
    embedder = SharedMiniLM(tmp_path)
    store = FaissStore(tmp_path / "rag", model=embedder.name, dimension=embedder.dimension)
    models = Models(embedder, MiniLMWords())
    pipeline = Pipeline(ResourceRef(name="docs"), RAGPipelineSpec(), store, models, tmp_path / "rag")
    await pipeline.ingest_all(list_files(CONFIG, [DirectorySource(type="directory", path="knowledge")]))
    pages = (CONFIG / "knowledge").glob("*.md")
    identifiers = {name for page in pages for name in IDENTIFIER.findall(page.read_text())}

    async def found() -> set[str]:
        hits = {name: await pipeline.query(name, 0) for name in identifiers}
        return {name for name, passages in hits.items() if any(name in hit.text.text for hit in passages)}

    pipeline.spec = RAGPipelineSpec(retrieval=Retrieval(mode="keyword", top_k=1))
    by_keyword = await found()
    pipeline.spec = RAGPipelineSpec(retrieval=Retrieval(mode="vector", top_k=1))
    by_vector = await found()
    pipeline.spec = RAGPipelineSpec(retrieval=Retrieval(mode="hybrid", top_k=1))
    by_both = await found()
    await store.close()
    await embedder.close()
    assert len(by_keyword) > 0.9 * len(identifiers) > 0
    assert by_keyword - by_vector
    assert len(by_both) > len(by_vector)
