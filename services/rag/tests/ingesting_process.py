"""Ingests slowly, a line on stdout for each part, until it is killed. Run by `test_pipeline`."""

import asyncio
import sys
from pathlib import Path

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.rag_pipeline import Chunking, DirectorySource, RAGPipelineSpec
from astromesh_rag.documents import list_files
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords


async def main(folder: Path) -> None:
    embedder = WordEmbedder(delay=0.02)
    store = FaissStore(folder / "rag", model=embedder.name, dimension=embedder.dimension)
    spec = RAGPipelineSpec(chunking=Chunking(chunk_size=120, overlap=20))
    pipeline = Pipeline(ResourceRef(name="docs"), spec, store, Models(embedder, MiniLMWords()), folder / "rag")
    source = DirectorySource(type="directory", path="knowledge")
    async for part in pipeline.ingest(list_files(folder / "config", [source])):
        sys.stdout.write(f"{part.progress.documents_done}\n")
        sys.stdout.flush()


asyncio.run(main(Path(sys.argv[1])))
