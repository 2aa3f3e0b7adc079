"""The FAISS index over a sidecar's vectors, and its file. A cache: what is missing or stale is built anew.

File: 32 bytes SHA-256 of the rest, then the serialized index. Its name holds the store's identity and the generation it
shows, so no file can pass for another content. Exact search by inner product over unit vectors, which is the cosine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from astromesh_vectors.faiss_store.sidecar import Change, Sidecar
    from astromesh_vectors.ports import Vectors

DIGEST = 32
LOAD_ROWS = 8192
"""Vectors moved from SQLite to FAISS at a time."""


class Index:
    """The vectors of one generation of a sidecar, by passage number. Used from one thread."""

    def __init__(self, dimension: int, generation: int, stored: faiss.Index | None = None) -> None:
        self.generation = generation
        self._dimension = dimension
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)) if stored is None else stored

    @property
    def size(self) -> int:
        return self._index.ntotal

    def apply(self, change: Change, vectors: Vectors) -> None:
        """Follows a change of the sidecar made at this index's generation."""
        if change.removed:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(change.removed, dtype=np.int64)))
        self.add(change.added, vectors)
        self.generation = change.after

    def add(self, numbers: Sequence[int], vectors: Vectors) -> None:
        if numbers:
            self._index.add_with_ids(vectors, np.array(numbers, dtype=np.int64))

    def serialized(self) -> bytes:
        return faiss.serialize_index(self._index).tobytes()

    def nearest(self, vector: Vectors, top_k: int) -> list[tuple[float, int]]:
        """(cosine, passage number) of the `top_k` nearest, best first, equal ones by number."""
        wanted = min(top_k, self.size)
        if wanted == 0:
            return []
        scores, numbers = self._index.search(vector.reshape(1, self._dimension), wanted)
        pairs = zip(scores[0].tolist(), numbers[0].tolist(), strict=True)
        # Rounding may leave [-1, 1] by a hair.
        found = [(max(-1.0, min(1.0, score)), number) for score, number in pairs]
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))


def use_threads(threads: int) -> None:
    """How many cores the calling thread's searches may use (OpenMP keeps it per thread)."""
    faiss.omp_set_num_threads(threads)


def load(folder: Path, sidecar: Sidecar, dimension: int) -> Index:
    """The index of what the sidecar shows now: from the file if that is of now, else built. Call in a snapshot."""
    generation = sidecar.generation()
    stored = _read(_file(folder, sidecar.identity, generation))
    if stored is not None and stored.d == dimension and stored.ntotal == sidecar.count():
        return Index(dimension, generation, stored)
    return _build(sidecar, dimension, generation)


def save(folder: Path, identity: str, index: Index) -> None:
    """Writes the index's file whole or not at all, and drops those of other generations."""
    target = _file(folder, identity, index.generation)
    if target.exists():
        return
    content = index.serialized()
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


def _file(folder: Path, identity: str, generation: int) -> Path:
    return folder / f"index-{identity}-{generation}.faiss"


def _read(path: Path) -> faiss.Index | None:
    """The index in the file; None when there is none or its bytes are not those that were written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    return faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8, offset=DIGEST))


def _build(sidecar: Sidecar, dimension: int, generation: int) -> Index:
    index = Index(dimension, generation)
    numbers: list[int] = []
    blobs: list[bytes] = []

    def flush() -> None:
        index.add(numbers, np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, dimension))
        numbers.clear()
        blobs.clear()

    for number, blob in sidecar.vectors():
        numbers.append(number)
        blobs.append(blob)
        if len(numbers) == LOAD_ROWS:
            flush()
    flush()
    return index
