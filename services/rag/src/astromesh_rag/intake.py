"""One document at a time into a store: read, cut, embedded, and put in place of what it was. Which, others know."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from astromesh.v1.values_pb2 import Passage
from astromesh_core.events.contents import text_content
from astromesh_core.filters import LONGEST_TEXT
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_rag.documents import GIVEN_PREFIX, Document, Unreadable, is_markdown
from astromesh_vectors.chunking import SIMILARITY_THRESHOLD, Chunk, Chunking, chunk, ruler_of
from astromesh_vectors.ports import Embedder, VectorStore
from astromesh_vectors.rulers import Words
from astromesh_vectors.semantic import meaning_breaks

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

_REVISION: Final = 3
"""Of how documents become passages. Counting it up makes every document be ingested again."""

_AT_A_TIME: Final = 256
"""Chunks embedded between two looks at whether anybody still wants them."""

Outcome = Literal["added", "replaced", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Models:
    """What reads texts: `words` counts the tokens of chunks, `embedder` makes their vectors."""

    embedder: Embedder
    words: Words


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a document, with the passages written, or the reason of a refusal."""

    source: str
    outcome: Outcome
    chunks: int = 0
    reason: str = ""


class Intake:
    """Takes documents in as one version of a pipeline has them."""

    def __init__(self, spec: RAGPipelineSpec, store: VectorStore, models: Models) -> None:
        self._store = store
        self._embedder, self._words = models.embedder, models.words
        self._chunking = chunking_of(spec)

    @property
    def settings(self) -> bytes:
        """Stands for everything that decides how any document becomes passages."""
        return hashlib.sha256(orjson.dumps([_REVISION, self._embedder.name, asdict(self._chunking)])).digest()

    async def take(self, document: Document, stored: Mapping[str, bytes]) -> Taken:
        """Makes the document's passages those of its content, all at once.

        One that stands in the store as it is costs its reading alone; one that cannot be read stays as it was.
        """
        try:
            text = await asyncio.to_thread(document.read)
        except Unreadable as error:
            return Taken(document.source, "refused", reason=str(error))
        markdown = is_markdown(document.source)
        sha256 = self._hash(text, markdown)
        if stored.get(document.id) == sha256:
            return Taken(document.source, "unchanged")
        chunks = await self._cut(text, markdown)
        vectors = await self._embedded(chunks)
        passages = [_passage(document.source, piece) for piece in chunks]
        metadata = {"source": document.source.replace("\0", "")[:LONGEST_TEXT]}
        await self._store.put(document.id, sha256, passages, vectors, metadata, _kept_of(document, text))
        return Taken(document.source, "replaced" if document.id in stored else "added", len(chunks))

    async def _cut(self, text: str, markdown: bool) -> list[Chunk]:
        chunking = self._chunking
        ruler = await asyncio.to_thread(ruler_of, text, chunking, self._words)
        breaks: set[int] = set()
        if chunking.strategy == "semantic":
            breaks = await meaning_breaks(text, chunking, self._embedder, ruler, markdown=markdown)
        return await asyncio.to_thread(chunk, text, chunking, markdown=markdown, ruler=ruler, breaks=breaks)

    async def _embedded(self, chunks: Sequence[Chunk]) -> Vectors:
        import numpy as np

        parts = [
            await self._embedder.embed([_embedded_text(piece) for piece in chunks[start : start + _AT_A_TIME]])
            for start in range(0, len(chunks), _AT_A_TIME)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self._store.dimension), dtype=np.float32)

    def _hash(self, text: str, markdown: bool) -> bytes:
        """Stands for everything that decides a document's passages and their vectors."""
        kind = b"markdown" if markdown else b"text"
        return hashlib.sha256(self.settings + kind + b"\0" + text.encode()).digest()


def kept_document(document_id: str, kept: str) -> Document:
    """A document of a request as the store kept it."""

    def read() -> str:
        if not kept:
            raise Unreadable("was taken in with other settings, and its text is not kept; send it again")
        return kept

    return Document(document_id, document_id.removeprefix(GIVEN_PREFIX), read)


def chunking_of(spec: RAGPipelineSpec) -> Chunking:
    """How a pipeline cuts."""
    declared = spec.chunking
    threshold = declared.similarity_threshold
    return Chunking(
        declared.chunk_size,
        declared.overlap,
        declared.separators,
        declared.strategy,
        declared.unit,
        SIMILARITY_THRESHOLD if threshold is None else threshold,
    )


def _kept_of(document: Document, text: str) -> str:
    """What is kept with a document: of one that only a request holds its text, so that it can be cut another way."""
    return text if document.id.startswith(GIVEN_PREFIX) else ""


def _passage(source: str, piece: Chunk) -> Passage:
    return Passage(
        source=source, start=piece.start, end=piece.end, headings=piece.headings, text=text_content(piece.text)
    )


def _embedded_text(piece: Chunk) -> str:
    """What the model reads of a chunk: the titles above it say what it is about where it does not say so itself."""
    return " > ".join(piece.headings) + "\n" + piece.text if piece.headings else piece.text
