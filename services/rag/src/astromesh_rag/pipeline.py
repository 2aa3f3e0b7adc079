"""One pipeline: its settings as they are now, its store, and the two things that it does: find and take in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Final

from astromesh.v1.rag_pb2 import IngestProgress, IngestResponse, IngestSummary
from astromesh.v1.values_pb2 import Passage, ResourceRef
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_rag.documents import GIVEN_PREFIX, Listing
from astromesh_rag.intake import Intake, Models, Taken, kept_document
from astromesh_rag.retrieval import chosen, depth
from astromesh_vectors.ports import VectorStore

__all__ = ["Figures", "Models", "Pipeline"]

MOST_PASSAGES: Final = 100

INGESTED_FILE: Final = "last-ingested"
SETTINGS_FILE: Final = "settings-of-given"
"""Stands for the settings that all documents of requests were taken in with."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a pipeline holds."""

    documents: int
    chunks: int
    last_ingested_unix_nano: int


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
        self.models = models
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
        vector = None if retrieval.mode == "keyword" else (await self.models.embedder.embed([text]))[0]
        words = "" if retrieval.mode == "vector" else text
        return chosen(await self.store.search(vector, words, depth(retrieval, wanted)), retrieval, wanted)

    async def ingest(self, listing: Listing) -> AsyncGenerator[IngestResponse, None]:
        """Takes the documents in, one after the other, each as a whole; progress as it goes, the summary last.

        One ingestion runs at a time, others wait. Left early or killed, what was taken in stays, and the next one goes
        on from there: a document that stands in the store as it is costs its reading alone. A document that cannot be
        read is reported and stays as it was.
        """
        async with self._ingesting:
            summary = IngestSummary(refused=listing.refused)
            stored = await self.store.documents()
            intake = Intake(self.spec, self.store, self.models)
            for number, document in enumerate(listing.documents):
                yield _progress(document.source, number, len(listing.documents))
                _count(await intake.take(document, stored), summary)
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
            intake = Intake(self.spec, self.store, self.models)
            settings = intake.settings.hex()
            if await asyncio.to_thread(self._noted, SETTINGS_FILE) == settings:
                return summary
            stored = await self.store.documents()
            for document_id in stored:
                if document_id.startswith(GIVEN_PREFIX):
                    kept = await self.store.text(document_id)
                    _count(await intake.take(kept_document(document_id, kept), stored), summary)
            if not summary.refused:
                await asyncio.to_thread(self._note, SETTINGS_FILE, settings)
            return summary

    async def figures(self) -> Figures:
        """What the pipeline holds now."""
        documents, chunks = await self.store.documents(), await self.store.count()
        return Figures(len(documents), chunks, await asyncio.to_thread(self._last_ingested))

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


def _count(taken: Taken, summary: IngestSummary) -> None:
    summary.chunks += taken.chunks
    if taken.outcome == "refused":
        summary.refused.append(f"{taken.source}: {taken.reason}")
    elif taken.outcome == "added":
        summary.added += 1
    elif taken.outcome == "replaced":
        summary.replaced += 1
    else:
        summary.unchanged += 1


def _progress(source: str, done: int, total: int) -> IngestResponse:
    return IngestResponse(progress=IngestProgress(source=source, documents_done=done, documents_total=total))
