"""Ingests slowly, a line on stdout for each step, until it is killed: a folder, and where an address and credentials of
a bus are given, as an ingestion of the mesh. A number asks for as many documents of a request."""

import asyncio
import sys
from pathlib import Path

from astromesh.v1.ingestion_events_pb2 import INGESTION_CAUSE_ASKED, INGESTION_CAUSE_GIVEN
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus import ingestion_lease
from astromesh_core.bus.connection import open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.resources.rag_pipeline import Chunking, DirectorySource, RAGPipelineSpec
from astromesh_rag.documents import Listing
from astromesh_rag.folders import list_files
from astromesh_rag.given import given_text
from astromesh_rag.ingestions import Ingestions, Wanted
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords


def opened(folder: Path) -> Pipeline:
    embedder = WordEmbedder(delay=0.02)
    store = FaissStore(folder / "rag", model=embedder.name, dimension=embedder.dimension)
    spec = RAGPipelineSpec(chunking=Chunking(chunk_size=120, overlap=20))
    ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs")
    return Pipeline(ref, spec, store, Models(embedder, MiniLMWords()), folder / "rag")


def listing(folder: Path, given: int) -> Listing:
    if given:
        return Listing([given_text(f"{number}", f"Fact {number}. " * 40) for number in range(given)])
    return list_files(folder / "config", [DirectorySource(type="directory", path="knowledge")])


async def alone(folder: Path) -> None:
    async for _ in opened(folder).ingest(listing(folder, 0)):
        tell()


async def in_the_mesh(folder: Path, url: str, credentials: Path, given: int) -> None:
    async def gather() -> Listing:
        return listing(folder, given)

    cause = INGESTION_CAUSE_GIVEN if given else INGESTION_CAUSE_ASKED
    async with open_bus(url, service="rag", credentials=load_credentials(credentials), name="killed") as bus:
        async for _ in Ingestions(bus.ingestions, "killed").run(Wanted(opened(folder), cause, gather)):
            tell()


def tell() -> None:
    sys.stdout.write("a step\n")
    sys.stdout.flush()


def main(folder: str, url: str = "", credentials: str = "", given: str = "0") -> None:
    if url:
        asyncio.run(in_the_mesh(Path(folder), url, Path(credentials), int(given)))
    else:
        asyncio.run(alone(Path(folder)))


# So that who comes next need not wait for long.
ingestion_lease.__dict__["TTL_SECONDS"] = 2
main(*sys.argv[1:])
