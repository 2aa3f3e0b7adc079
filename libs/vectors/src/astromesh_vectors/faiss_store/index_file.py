"""The file of a FAISS index. A cache: one that is behind is caught up, one that is missing or damaged is made anew.

File: 32 bytes SHA-256 of the rest; 8 bytes how many places there are, 8 a passage's number; the serialized index.
Its name holds the store's identity and the generation it shows, so no file can pass for another content.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np

from astromesh_vectors.faiss_store.index import Index

if TYPE_CHECKING:
    from astromesh_vectors.faiss_store.sidecar import Sidecar

DIGEST = 32
LOAD_ROWS = 8192
"""Vectors moved from SQLite to FAISS at a time."""


def load(folder: Path, sidecar: Sidecar, dimension: int) -> Index:
    """The index of what the sidecar shows now: from the newest file, and what came since. Call in a snapshot."""
    for generation, path in sorted(_files(folder, sidecar.identity), reverse=True):
        if generation <= sidecar.generation():
            index = _read(path, generation)
            if index is not None and index.dimension == dimension:
                catch_up(index, sidecar)
                return index
    index = Index(dimension)
    catch_up(index, sidecar)
    return index


def catch_up(index: Index, sidecar: Sidecar) -> None:
    """Brings an index to what the sidecar shows now. Call in a snapshot."""
    living = np.fromiter((number for (number,) in sidecar.numbers()), dtype=np.int64)
    numbers: list[int] = []
    blobs: list[bytes] = []

    def flush() -> None:
        index.add(numbers, np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, index.dimension))
        numbers.clear()
        blobs.clear()

    for number, blob in sidecar.vectors_after(index.newest):
        numbers.append(number)
        blobs.append(blob)
        if len(numbers) == LOAD_ROWS:
            flush()
    flush()
    index.keep(living, sidecar.generation())


def save(folder: Path, identity: str, index: Index) -> None:
    """Writes the index's file whole or not at all, and drops those of other generations."""
    target = folder / f"index-{identity}-{index.generation}.faiss"
    if target.exists():
        return
    stored, numbers = index.stored
    content = len(numbers).to_bytes(8, "little") + numbers.astype("<i8").tobytes() + faiss.serialize_index(stored).data
    aside = target.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(target)
    for old in folder.glob("index-*.faiss"):
        if old != target:
            old.unlink(missing_ok=True)


def _files(folder: Path, identity: str) -> list[tuple[int, Path]]:
    prefix = f"index-{identity}-"
    found = ((path.stem.removeprefix(prefix), path) for path in folder.glob(f"{prefix}*.faiss"))
    return [(int(generation), path) for generation, path in found if generation.isdecimal()]


def _read(path: Path, generation: int) -> Index | None:
    """The index in the file; None when there is none or its bytes are not those that were written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < DIGEST + 8 or hashlib.sha256(memoryview(content)[DIGEST:]).digest() != content[:DIGEST]:
        return None
    count = int.from_bytes(content[DIGEST : DIGEST + 8], "little")
    start = DIGEST + 8
    numbers = np.frombuffer(content, dtype="<i8", offset=start, count=count).astype(np.int64)
    stored = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8, offset=start + 8 * count))
    usable = stored.ntotal == count and not isinstance(stored, faiss.IndexHNSW)  # a graph of an earlier release
    return Index.restored(stored, numbers, generation) if usable else None
