"""One document at a time into a store: read, cut, embedded, and put in place of what it was. Which, others know."""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import orjson

from astromesh.v1.values_pb2 import Passage
from astromesh_core.events.contents import text_content
from astromesh_core.filters import LONGEST_TEXT, MetadataValue
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.reranking import Reranking
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.tracing import Spans, UnrecordedSpans
from astromesh_native.choice import CHOICE
from astromesh_native.rulers import Words
from astromesh_rag.documents import GIVEN_PREFIX, Document, Gone, Kept, Loaded, Unchanged
from astromesh_rag.given import kept_text
from astromesh_rag.parsing import Parser
from astromesh_rag.readers.text import Text, Unreadable
from astromesh_vectors.chunking import SIMILARITY_THRESHOLD, Chunk, Chunking, chunk, ruler_of
from astromesh_vectors.ports import Embedder, VectorStore
from astromesh_vectors.rerankers.protocol import ServedReranker
from astromesh_vectors.semantic import meaning_breaks

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

_REVISION: Final = 4
"""Of how documents become passages. Counting it up makes every document be ingested again."""

_AT_A_TIME: Final = 256
"""Chunks embedded between two looks at whether anybody still wants them."""

SETTINGS: Final = "taken_with"
"""Kept with a document that its origin is asked about: the settings that it was taken in with."""

Outcome = Literal["added", "replaced", "removed", "unchanged", "refused"]

OpenReranker = Callable[[Reranking], Awaitable[ServedReranker]]
"""Opens the reranker that a pipeline declares; equal ones are one, and somebody else closes it."""


@dataclass(frozen=True, slots=True)
class Models:
    """What reads texts: `words` counts the tokens of chunks, `embedder` makes vectors of questions.

    `remembering` makes those of documents; without one, `embedder` does. `rerankers` opens the declared ones, `parser`
    reads what is no plain text. `spans` are told of the cutting.
    """

    embedder: Embedder
    words: Words
    remembering: Embedder | None = None
    rerankers: OpenReranker | None = None
    parser: Parser = field(default_factory=Parser)
    spans: Spans = field(default_factory=UnrecordedSpans)


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
        self._embedder, self._words = models.remembering or models.embedder, models.words
        self._parser, self._spans = models.parser, models.spans
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
            loaded = await document.load(await self._kept(document, stored))
            sha256 = self._hash(loaded)
            if stored.get(document.id) == sha256:
                return Taken(document.source, "unchanged")
            text = loaded.text or await self._parser.text(loaded.raw)
        except Unchanged:
            return Taken(document.source, "unchanged")
        except Unreadable as error:
            return Taken(document.source, "refused", reason=str(error))
        except Gone as error:
            removed = document.id in stored and await self._store.remove(document.id)
            return Taken(document.source, "removed" if removed else "refused", reason=str(error))
        chunks = await self._put(document, loaded, text, sha256)
        return Taken(document.source, "replaced" if document.id in stored else "added", chunks)

    async def _kept(self, document: Document, stored: Mapping[str, bytes]) -> Kept:
        """What its loading may rely on: nothing where other settings took it in, for it has to be read anew."""
        if not document.conditional or document.id not in stored:
            return {}
        kept = await self._store.metadata(document.id)
        return kept if kept.get(SETTINGS) == self.settings.hex() else {}

    async def _put(self, document: Document, loaded: Loaded, text: Text, sha256: bytes) -> int:
        with self._spans.span("chunk document", attributes={gen_ai.NATIVE: CHOICE.name}):
            chunks = await self._cut(text.text, text.markdown)
        vectors = await self._embedded(chunks)
        passages = [_passage(document.source, piece, text) for piece in chunks]
        own: dict[str, MetadataValue] = {"source": document.source.replace("\0", "")[:LONGEST_TEXT]}
        if document.conditional:
            own |= {**loaded.notes, SETTINGS: self.settings.hex()}
        metadata = {**loaded.metadata, **own}
        kept = kept_text(loaded.raw, text) if document.id.startswith(GIVEN_PREFIX) else ""
        await self._store.put(document.id, sha256, passages, vectors, metadata, kept)
        return len(chunks)

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

    def _hash(self, loaded: Loaded) -> bytes:
        """Stands for everything that decides a document's passages and what filters see of them."""
        raw = loaded.raw
        content = [raw.format, raw.charset, raw.digest().hex(), dict(loaded.metadata)]
        return hashlib.sha256(self.settings + orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


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


def _passage(source: str, piece: Chunk, text: Text) -> Passage:
    passage = Passage(
        source=source, start=piece.start, end=piece.end, headings=piece.headings, text=text_content(piece.text)
    )
    if text.pages:
        passage.metadata_json = orjson.dumps({"page": bisect_right(text.pages, piece.start)}).decode()
    return passage


def _embedded_text(piece: Chunk) -> str:
    """What the model reads of a chunk: the titles above it say what it is about where it does not say so itself."""
    return " > ".join(piece.headings) + "\n" + piece.text if piece.headings else piece.text
