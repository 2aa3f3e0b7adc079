"""Writes documents of three passages for ever and prints how many are acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from astromesh_testing.contracts.vector_store import DIMENSION, found, write
from astromesh_vectors.faiss_store.store import FaissStore


async def main(folder: Path) -> None:
    store = FaissStore(folder, model="compass", dimension=DIMENSION)
    await found(store)
    for number in count(len(await store.documents()) + 1):
        text = f"document {number}"
        await write(store, text, text, text, text)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
