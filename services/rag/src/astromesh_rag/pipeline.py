"""One pipeline: its settings as they are now, its store, and the two things that it does: find and take in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Final

from astromesh.v1.rag_pb2 import IngestSummary
from astromesh.v1.values_pb2 import Passage, ResourceRef
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.filters import Filter
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_rag.documents import GIVEN_PREFIX, Document, Listing
from astromesh_rag.given import kept_document
from astromesh_rag.intake import Intake, Models, Taken
from astromesh_rag.retrieval import chosen, depth, judged, ranked, read_by_reranker, reranked
from astromesh_rag.tally import Tally
from astromesh_vectors.ports import VectorStore
from astromesh_vectors.rerankers.protocol import ServedReranker

__all__ = ["Figures", "Models", "Pipeline", "Step"]

MOST_PASSAGES: Final = 100

INGESTED_FILE: Final = "last-ingested"
SETTINGS_FILE: Final = "settings-of-given"
"""Stands for the settings that all documents of requests were taken in with."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far an ingestion is: `source` is the document at hand, `taken` what became of it, once it is known."""

    done: int
    total: int
    source: str = ""
    taken: Taken | None = None


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
        self.turn = asyncio.Lock()
        """Held by who writes documents: one at a time of this process."""

    async def query(self, text: str, top_k: int, where: Filter | None = None) -> list[Passage]:
        """The passages that answer the text best, found as declared, best first; `top_k` 0 is the pipeline's own.

        Only passages whose metadata meets `where` are looked at. Raises InvalidInput for an empty text, a `top_k` out
        of bounds and vectors of another dimension, and what a declared reranker raises: passages that were not reranked
        are not shown instead.
        """
        if not text.strip():
            raise InvalidInput("the query is empty; ask for something")
        retrieval, reranking = self.spec.retrieval, self.spec.reranking
        wanted = top_k or (reranking.enabled and reranking.top_k) or retrieval.top_k
        if not 1 <= wanted <= MOST_PASSAGES:
            raise InvalidInput(f"top_k is {wanted}; it must be from 1 to {MOST_PASSAGES}")
        if await self.store.count() == 0:
            return []  # without the time and the memory that the model takes
        vector = None if retrieval.mode == "keyword" else (await self.models.embedder.embed([text]))[0]
        words = "" if retrieval.mode == "vector" else text
        deep = depth(retrieval, wanted, reranked=reranking.enabled)
        found = ranked(await self.store.search(vector, words, deep, where), retrieval)
        reranker = await self.reranker()
        if reranker is not None:
            found = found[: judged(wanted)]
            found = reranked(found, await reranker.scores(text, [read_by_reranker(each.passage) for each in found]))
        return chosen(found, retrieval, wanted)

    async def reranker(self) -> ServedReranker | None:
        """The reranker that judges what is found; None where none is declared. Raises what keeps it from being made."""
        if not self.spec.reranking.enabled:
            return None
        assert self.models.rerankers is not None, "whoever opens pipelines opens rerankers"
        return await self.models.rerankers(self.spec.reranking)

    async def ingest(self, listing: Listing) -> AsyncGenerator[Step, None]:
        """Takes the documents in, one after the other, each as a whole; a step before each, and one after each.

        The caller holds `turn`. Left early or killed, what was taken in stays, and the next ingestion goes on from
        there: a document that stands in the store as it is costs its reading alone. A document that cannot be read is
        reported and stays as it was. Raises Unavailable, at the end, where a source could not be looked into.
        """
        total = len(listing.documents)
        for refusal in listing.refused:
            yield Step(0, total, taken=Taken("", "refused", reason=refusal))
        stored = await self.store.documents()
        intake = Intake(self.spec, self.store, self.models)
        for number, document in enumerate(listing.documents):
            yield Step(number, total, document.source)
            yield Step(number + 1, total, document.source, await intake.take(document, stored))
        for document_id in listing.removals:
            yield Step(total, total, taken=await self._removed(document_id))
        vanished = listing.vanished(stored)
        for document_id in vanished.removed:
            yield Step(total, total, taken=await self._removed(document_id))
        failures = [*listing.failures, *vanished.failures]
        if failures:
            raise Unavailable("; ".join(failures))
        await asyncio.to_thread(self._note, INGESTED_FILE, str(time_ns()))

    async def _removed(self, document_id: str) -> Taken:
        source = document_id.partition(":")[2]
        if await self.store.remove(document_id):
            return Taken(source, "removed")
        return Taken(source, "refused", reason="is not there")

    async def ingest_all(self, listing: Listing) -> IngestSummary:
        """Ingests and answers the summary."""
        tally = Tally()
        async with self.turn, aclosing(self.ingest(listing)) as steps:
            async for step in steps:
                if step.taken is not None:
                    tally.add(step.taken)
        return tally.summary()

    async def renew(self) -> IngestSummary:
        """Takes the documents of requests in anew, if the settings are no longer those that they were taken in with.

        A document that an earlier release took in, which kept no text, stays as it was and is reported.
        """
        async with self.turn:
            tally = Tally()
            intake = Intake(self.spec, self.store, self.models)
            settings = intake.settings.hex()
            if await asyncio.to_thread(self._noted, SETTINGS_FILE) == settings:
                return tally.summary()
            stored = await self.store.documents()
            for document_id in stored:
                if document_id.startswith(GIVEN_PREFIX):
                    tally.add(await intake.take(await self._kept(document_id), stored))
            if not tally.counts.refused:
                await asyncio.to_thread(self._note, SETTINGS_FILE, settings)
            return tally.summary()

    async def take_over(self, before: Pipeline) -> list[str]:
        """Takes in what requests brought to another pipeline and this one does not have. What is left out is named."""
        async with self.turn, before.turn:
            stored, intake = await self.store.documents(), Intake(self.spec, self.store, self.models)
            given = [name for name in await before.store.documents() if name.startswith(GIVEN_PREFIX)]
            taken = [await intake.take(await before._kept(name), stored) for name in given if name not in stored]
            return [f"{each.source}: {each.reason}" for each in taken if each.outcome == "refused"]

    async def empty(self) -> None:
        """Removes every document."""
        async with self.turn:
            for document_id in await self.store.documents():
                await self.store.remove(document_id)

    async def _kept(self, document_id: str) -> Document:
        kept = await self.store.metadata(document_id)
        metadata = {key: value for key, value in kept.items() if key != "source"}
        return kept_document(document_id, await self.store.text(document_id), metadata)

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
