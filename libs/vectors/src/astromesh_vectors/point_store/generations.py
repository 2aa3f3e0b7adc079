"""Which generation of each document is shown, to whom, and when an old one may go. Pure, but for the order of names.

1. A generation is hidden until its document is `shown` with it; the one before is hidden from then on.
2. A reader keeps the view that it began with: what was shown then stays stored until the reader has ended.
3. What is hidden and nobody reads may be discarded. What is hidden by nobody known is a stray: of a writer that was
   killed, or of another process that has not finished yet.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time_ns
from typing import Final

from astromesh_vectors.point_store.points import Manifest

STRAY_SECONDS: Final = 3_600
"""After so long, whoever was writing a stray has given up."""


@dataclass(frozen=True, slots=True)
class View:
    """What a reader sees: the documents, and the generations that it must not see."""

    documents: Mapping[str, Manifest]
    hidden: frozenset[str]

    def shows(self, document: str, generation: str) -> bool:
        """Whether a point of this generation is seen."""
        manifest = self.documents.get(document)
        return manifest is not None and manifest.generation == generation


@dataclass(slots=True)
class Generations:
    """The documents as they are known here."""

    documents: Mapping[str, Manifest] = field(default_factory=dict[str, Manifest])
    _hidden: frozenset[str] = frozenset()
    _moment: int = 0
    _readers: Counter[int] = field(default_factory=Counter[int])
    _old: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    _doubtful: set[str] = field(default_factory=set[str])

    @contextmanager
    def reading(self) -> Generator[View]:
        """A view that holds within the block."""
        moment = self._moment
        self._readers[moment] += 1
        try:
            yield View(self.documents, self._hidden)
        finally:
            self._readers[moment] -= 1
            if not self._readers[moment]:
                del self._readers[moment]

    def hide(self, generations: Iterable[str]) -> None:
        """Lets nobody see these from now on: they are being written, or are strays."""
        self._hidden = self._hidden.union(generations)

    def show(self, document: str, manifest: Manifest | None, before: Manifest | None) -> None:
        """Makes the document what the manifest says, None for nothing, all at once; `before` is what it was."""
        self._moment += 1
        documents = dict(self.documents)
        documents.pop(document, None)
        if manifest is not None:
            documents[document] = manifest
            self._hidden -= {manifest.generation}
        self.documents = documents
        if before is not None:
            self._give_up(before.generation)

    def replace(self, documents: Iterable[Manifest]) -> None:
        """Takes the documents as they are stored; whoever changed them discards what was before."""
        self._moment += 1
        self.documents = {manifest.document: manifest for manifest in documents}
        shown = {manifest.generation for manifest in self.documents.values()}
        self._hidden -= shown
        doubtful, self._doubtful = self._doubtful, set()
        for generation in doubtful - shown:
            self._give_up(generation)

    def doubt(self, generation: str) -> None:
        """Says that nobody knows whether this one is shown; the next `replace` tells."""
        self._doubtful.add(generation)

    def stray(self, points: Iterable[tuple[str, str]]) -> None:
        """Notes points by document and generation that a view does not show.

        Those that belong to nothing now are not seen from now on, and are given up once they are old.
        """
        for document, generation in points:
            shown = self.documents.get(document)
            if generation in self._hidden or (shown is not None and shown.generation == generation):
                continue
            self.hide([generation])
            if time_ns() - written_at(generation) > STRAY_SECONDS * 1_000_000_000:
                self._give_up(generation)

    def _give_up(self, generation: str) -> None:
        self.hide([generation])
        self._old.append((self._moment, generation))

    def discardable(self) -> list[str]:
        """The generations that may be deleted now. Those that were deleted are to be told by `discarded`."""
        oldest = min(self._readers, default=self._moment)
        return [generation for moment, generation in self._old if moment <= oldest]

    def discarded(self, generations: Iterable[str]) -> None:
        """Forgets what was deleted."""
        gone = set(generations)
        self._old = [entry for entry in self._old if entry[1] not in gone]
        self._hidden -= gone


def new_generation(after: int) -> str:
    """A name of its own, which stands behind all that were made before; `after` is the last one's time."""
    return f"{max(time_ns(), after + 1):020d}-{uuid.uuid4().hex}"


def written_at(generation: str) -> int:
    """When a generation was begun, in Unix nanoseconds."""
    return int(generation.partition("-")[0])
