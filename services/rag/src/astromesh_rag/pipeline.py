"""One pipeline: its settings as they are now, its store, and the two things that it does: find and take in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Final

import orjson

from astromesh.v1.rag_pb2 import IngestProgress, IngestResponse, IngestSummary
from astromesh.v1.values_pb2 import Passage, ResourceRef
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_rag.documents import GIVEN_PREFIX, Document, Listing, Unreadable, is_markdown
from astromesh_rag.retrieval import chosen, depth
from astromesh_vectors.chunking import SIMILARITY_THRESHOLD, Chunk, Chunking, chunk, ruler_of
from astromesh_vectors.ports import Embedder, VectorStore
from astromesh_vectors.rulers import Words
from astromesh_vectors.semantic import meaning_breaks

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

MOST_PASSAGES: Final = 100

INGESTED_FILE: Final = "last-ingested"
SETTINGS_FILE: Final = "settings-of-given"
"""Stands for the settings that all documents of requests were taken in with."""

_REVISION: Final = 2
"""Of how documents become passages. Counting it up makes every document be ingested again."""

_AT_A_TIME: Final = 256
"""Chunks embedded between two looks at whether anybody still wants them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a pipeline holds."""

    documents: int
    chunks: int
    last_ingested_unix_nano: int


@dataclass(frozen=True, slots=True)
class Models:
    """What reads texts: `words` counts the tokens of chunks, `embedder` makes their vectors."""

    embedder: Embedder
    words: Words


class Pipeline:
    """A pipeline on its store. Settings may change between two calls; each call keeps those that it began with."""

    def __init__(
        self,
        ref: ResourceRef,
        spec: RAGPipelineSpec,
        store: VectorStore,
        models: Models,
        folder: Path,
    ) -> None:
        self.ref = ref
        self.spec = spec
        self.store = store
        self._embedder, self._words = models.embedder, models.words
        self._folder = folder
        self._ingesting = asyncio.Lock()

    async def query(self, text: str, top_k: int) -> list[Passage]:
        """The passages that answer the text best, found as declared, best first; `top_k` 0 is the pipeline's own.

        Raises InvalidInput for an empty text, a `top_k` out of bounds and vectors of another dimension.
        """
        if not text.strip():
            raise InvalidInput("the query is empty; ask for something")
        retrieval = self.spec.retrieval
        wanted = top_k or retrieval.top_k
        if not 1 <= wanted <= MOST_PASSAGES:
            raise InvalidInput(f"top_k is {wanted}; it must be from 1 to {MOST_PASSAGES}")
        if await self.store.count() == 0:
            return []  # without the time and the memory that the model takes
        vector = None if retrieval.mode == "keyword" else (await self._embedder.embed([text]))[0]
        words = "" if retrieval.mode == "vector" else text
        return chosen(await self.store.matches(vector, words, depth(retrieval, wanted)), retrieval, wanted)

    async def ingest(self, listing: Listing) -> AsyncGenerator[IngestResponse, None]:
        """Takes the documents in, one after the other, each as a whole; progress as it goes, the summary last.

        One ingestion runs at a time, others wait. Left early or killed, what was taken in stays, and the next one goes
        on from there: a document that stands in the store as it is costs its reading alone. A document that cannot be
        read is reported and stays as it was.
        """
        async with self._ingesting:
            summary = IngestSummary(refused=listing.refused)
            stored = await self.store.documents()
            chunking = _chunking(self.spec)
            for number, document in enumerate(listing.documents):
                yield _progress(document.source, number, len(listing.documents))
                await self._take(document, chunking, stored, summary)
            for document_id in listing.vanished(stored):
                summary.removed += await self.store.remove(document_id)
            await asyncio.to_thread(self._note, INGESTED_FILE, str(time_ns()))
            yield _progress("", len(listing.documents), len(listing.documents))
            yield IngestResponse(summary=summary)

    async def ingest_all(self, listing: Listing) -> IngestSummary:
        """Ingests and answers the summary."""
        summary = IngestSummary()
        async with aclosing(self.ingest(listing)) as parts:
            async for part in parts:
                if part.HasField("summary"):
                    summary = part.summary
        return summary

    async def renew(self) -> IngestSummary:
        """Takes the documents of requests in anew, if the settings are no longer those that they were taken in with.

        A document that an earlier release took in, which kept no text, stays as it was and is reported.
        """
        async with self._ingesting:
            summary = IngestSummary()
            chunking = _chunking(self.spec)
            settings = self._settings(chunking).hex()
            if await asyncio.to_thread(self._noted, SETTINGS_FILE) == settings:
                return summary
            stored = await self.store.documents()
            for document_id in stored:
                if document_id.startswith(GIVEN_PREFIX):
                    kept = await self.store.metadata(document_id)
                    await self._take(_kept_document(document_id, kept), chunking, stored, summary)
            if not summary.refused:
                await asyncio.to_thread(self._note, SETTINGS_FILE, settings)
            return summary

    async def figures(self) -> Figures:
        """What the pipeline holds now."""
        documents, chunks = await self.store.documents(), await self.store.count()
        return Figures(len(documents), chunks, await asyncio.to_thread(self._last_ingested))

    async def _take(
        self, document: Document, chunking: Chunking, stored: dict[str, bytes], summary: IngestSummary
    ) -> None:
        try:
            text = await asyncio.to_thread(document.read)
        except Unreadable as error:
            summary.refused.append(f"{document.source}: {error}")
            return
        markdown = is_markdown(document.source)
        sha256 = self._hash(text, chunking, markdown)
        if stored.get(document.id) == sha256:
            summary.unchanged += 1
            return
        chunks = await self._cut(text, chunking, markdown)
        vectors = await self._embedded(chunks)
        passages = [_passage(document.source, piece) for piece in chunks]
        await self.store.put(document.id, sha256, passages, vectors, _kept_of(document, text))
        summary.chunks += len(chunks)
        if document.id in stored:
            summary.replaced += 1
        else:
            summary.added += 1

    async def _cut(self, text: str, chunking: Chunking, markdown: bool) -> list[Chunk]:
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
        return np.concatenate(parts) if parts else np.empty((0, self.store.dimension), dtype=np.float32)

    def _hash(self, text: str, chunking: Chunking, markdown: bool) -> bytes:
        """Stands for everything that decides a document's passages and their vectors."""
        kind = b"markdown" if markdown else b"text"
        return hashlib.sha256(self._settings(chunking) + kind + b"\0" + text.encode()).digest()

    def _settings(self, chunking: Chunking) -> bytes:
        """Stands for everything that decides how any document becomes passages."""
        return hashlib.sha256(orjson.dumps([_REVISION, self._embedder.name, asdict(chunking)])).digest()

    def _note(self, name: str, value: str) -> None:
        aside = self._folder / f"{name}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(value)
            aside.replace(self._folder / name)
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be written: {error.strerror or error}") from error

    def _noted(self, name: str) -> str:
        try:
            return (self._folder / name).read_text()
        except (OSError, ValueError):
            return ""

    def _last_ingested(self) -> int:
        noted = self._noted(INGESTED_FILE)
        return int(noted) if noted.isdecimal() else 0


def _kept_of(document: Document, text: str) -> dict[str, str]:
    """What is kept with a document: of one that only a request holds its text, so that it can be cut another way."""
    return {"source": document.source, "text": text} if document.id.startswith(GIVEN_PREFIX) else {}


def _kept_document(document_id: str, kept: dict[str, str]) -> Document:
    def read() -> str:
        if "text" not in kept:
            raise Unreadable("was taken in with other settings, and its text is not kept; send it again")
        return kept["text"]

    return Document(document_id, kept.get("source", document_id.removeprefix(GIVEN_PREFIX)), read)


def _chunking(spec: RAGPipelineSpec) -> Chunking:
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


def _passage(source: str, piece: Chunk) -> Passage:
    return Passage(
        source=source, start=piece.start, end=piece.end, headings=piece.headings, text=text_content(piece.text)
    )


def _embedded_text(piece: Chunk) -> str:
    """What the model reads of a chunk: the titles above it say what it is about where it does not say so itself."""
    return " > ".join(piece.headings) + "\n" + piece.text if piece.headings else piece.text


def _progress(source: str, done: int, total: int) -> IngestResponse:
    return IngestResponse(progress=IngestProgress(source=source, documents_done=done, documents_total=total))
