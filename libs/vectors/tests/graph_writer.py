"""Writes documents, builds the graph, and then waits to be killed. Run by `test_faiss_index`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from astromesh_testing.contracts.stored_vectors import digest, passage
from astromesh_testing.contracts.vector_scale import DIMENSION, drawn
from astromesh_vectors.faiss_store.store import FaissStore


async def main(folder: Path) -> None:
    store = FaissStore(folder, model="drawn", dimension=DIMENSION, index="hnsw")
    for document in range(15):
        passages = [passage(f"{document} {place}", start=document * 1000 + place) for place in range(100)]
        await store.put(str(document), digest("1"), passages, drawn(100, document + 10))
    await store.settle()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


asyncio.run(main(Path(sys.argv[1])))
