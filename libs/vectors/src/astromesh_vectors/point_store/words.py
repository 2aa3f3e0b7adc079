"""The words of a collection that lies elsewhere: a copy of its passages beside us, for BM25. A cache, in SQLite's FTS5.

It is caught up before it is asked, so it shows what the reader's view shows, and ranks as the FAISS store does. It is
kept over a restart, and made anew where it is damaged. Blocks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from astromesh_core.errors import Conflict
from astromesh_core.filters import Filter
from astromesh_vectors.faiss_store.sidecar import Row, Sidecar, read
from astromesh_vectors.passages import passage_of
from astromesh_vectors.point_store.generations import View
from astromesh_vectors.point_store.points import Point
from astromesh_vectors.ports import Match

if TYPE_CHECKING:
    from astromesh_vectors.point_store.points import Purpose

WORDS_FILE = "words.sqlite3"


class WordCache:
    """The copy. Calls may come from several threads; they wait for each other."""

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._folder = folder
        self._purpose = purpose
        self._sidecar: Sidecar | None = None
        self._lock = Lock()

    def best(
        self, view: View, points_of: Callable[[str], list[Point]], words: str, limit: int, where: Filter | None
    ) -> list[Match]:
        """The passages of the view that share words with a text, best first; `points_of` gives the points."""
        with self._lock:
            sidecar = self._opened()
            self._catch_up(sidecar, view, points_of)
            with sidecar.snapshot():
                numbers = sidecar.with_words(words, limit, where)
                rows = sidecar.rows(numbers)
        found: list[Match] = []
        for number in numbers:
            passage, vector = read(rows[number])
            found.append(Match(passage, np.frombuffer(vector, dtype="<f4")))
        return found

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._sidecar is not None:
                self._sidecar.close()
                self._sidecar = None

    def _opened(self) -> Sidecar:
        if self._sidecar is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / WORDS_FILE
            try:
                self._sidecar = self._open(path)
            except (Conflict, sqlite3.DatabaseError):
                for old in self._folder.glob(f"{WORDS_FILE}*"):
                    old.unlink()
                self._sidecar = self._open(path)
        return self._sidecar

    def _open(self, path: Path) -> Sidecar:
        return Sidecar(path, self._purpose.model, self._purpose.dimension, durable=False)

    def _catch_up(self, sidecar: Sidecar, view: View, points_of: Callable[[str], list[Point]]) -> None:
        """Brings the copy to the view, document by document; the generation stands where the hash stands elsewhere."""
        had = sidecar.documents(None)
        for document in had.keys() - view.documents.keys():
            sidecar.remove(document)
        for document, manifest in view.documents.items():
            generation = manifest.generation.encode()
            if had.get(document) != generation:
                points = sorted(points_of(manifest.generation), key=lambda point: point.ordinal)
                sidecar.put(document, generation, json.loads(manifest.metadata), "", _rows(points))


def _rows(points: Sequence[Point]) -> list[Row]:
    return [
        Row(passage_of(point.document, point.ordinal, point.kept), point.metadata, point.vector.tobytes())
        for point in points
    ]
