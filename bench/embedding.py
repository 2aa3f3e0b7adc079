"""Texts embedded by MiniLM, beside sentence-transformers on the same core, and what taking them in costs on top.

python bench/embedding.py TEXTS THREADS   embeds the texts of a JSON file and tells the seconds, as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop
from figures import Figure
from mixed_text import mixed_text
from processes import cores
from retrieval_quality import FOLDER
from rivals import NotMeasured, environment

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.rag_pipeline import Chunking, RAGPipelineSpec
from astromesh_rag.documents import Listing
from astromesh_rag.given import given_text
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_vectors.embedders.cache import RememberingEmbedder, VectorCache
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.embedder import MiniLMEmbedder
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.minilm.weights import find_model
from astromesh_vectors.sentences import sentences

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

SCENARIO: Final = "Embedding by all-MiniLM-L6-v2, fp32, one core"
INGESTING: Final = "Taking in passages, one core"
SENTENCES: Final = 1_024
PASSAGES: Final = 256
PASSAGE: Final = 500
INGESTED: Final = 10_000
CHUNK: Final = 200
CUT: Final = 150
"""Bytes of text that make such a passage, on the whole."""

DOCUMENT: Final = 8_000
"""Characters: some 40 passages."""

_RIVAL: Final = Path(__file__).parent / "rival_sentence_transformers" / "embed.py"
_TURNS: Final = 2


class Told(NamedTuple):
    """How long the core worked on it, by whom, and the first vector."""

    seconds: float
    versions: str
    first: Sequence[float]


def measure(share: float) -> Iterator[Figure]:
    """Both in turn, twice, of which the best counts; then an ingestion whose time within the model is taken."""
    texts = reference_texts()
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        for what, all_texts in texts.items():
            some = all_texts[: max(64, int(len(all_texts) * share))]
            file = Path(made) / "texts.json"
            file.write_text(json.dumps(some))
            yield from _beside(what, len(some), file)
    yield from uvloop.run(_ingested(max(500, int(INGESTED * share))))


def reference_texts() -> dict[str, list[str]]:
    """Sentences of Python's reference, and passages of it."""
    pages = [path.read_text() for path in sorted((FOLDER / "pages").glob("*.txt"))]
    found = [" ".join(page[one.start : one.end].split()) for page in pages for one in sentences(page)]
    whole = "\n".join(" ".join(page.split()) for page in pages)
    passages = [whole[place : place + PASSAGE] for place in range(0, PASSAGE * PASSAGES, PASSAGE)]
    return {"sentences": [one for one in found if 40 <= len(one) <= 300][:SENTENCES], "passages": passages}


def _beside(what: str, count: int, file: Path) -> Iterator[Figure]:
    ours = list[Told]()
    theirs = list[Told]()
    refused = ""
    for _ in range(_TURNS):
        ours.append(_told([sys.executable, __file__, str(file), "1"]))
        try:
            rival = environment("rival_sentence_transformers", "python3.11")
            theirs.append(_told([str(rival), str(_RIVAL), str(find_model()), str(file), "1"]))
        except NotMeasured as error:
            refused = str(error)
            break
    best = min(ours, key=lambda told: told.seconds)
    named = f"{count:,} {what}"
    if refused:
        yield Figure(SCENARIO, named, "ours, ONNX Runtime", f"{count / best.seconds:,.0f}/s")
        yield Figure(SCENARIO, named, "sentence-transformers", f"not measured: {refused}")
        return
    rival_best = min(theirs, key=lambda told: told.seconds)
    cosine = sum(a * b for a, b in zip(best.first, rival_best.first, strict=True))
    ratio = rival_best.seconds / best.seconds
    value = f"{count / best.seconds:,.0f}/s, {ratio:.2f} × theirs; cosine of the first vectors {cosine:.6f}"
    yield Figure(SCENARIO, named, f"ours, {best.versions}", value, "≥ 1.5 ×")
    rate = f"{count / rival_best.seconds:,.0f}/s"
    yield Figure(SCENARIO, named, f"sentence-transformers {rival_best.versions}", rate)


def _told(command: list[str]) -> Told:
    pinned = ["taskset", "-c", str(cores()[0]), *command]
    single = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(pinned, capture_output=True, text=True, check=False, env=single)
    if done.returncode:
        raise NotMeasured(done.stderr.strip().splitlines()[-1])
    told = json.loads(done.stdout.splitlines()[-1])
    return Told(told["seconds"], told["versions"], told["first"])


@dataclass
class Timed:
    """MiniLM, and the time that was spent in it."""

    model: MiniLMEmbedder
    seconds: float = 0.0
    texts: int = 0
    name: str = field(default=MiniLMEmbedder.name)
    dimension: int = field(default=MiniLMEmbedder.dimension)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        begun = time.perf_counter()
        vectors = await self.model.embed(texts)
        self.seconds += time.perf_counter() - begun
        self.texts += len(texts)
        return vectors

    async def close(self) -> None:
        """See Embedder."""
        await self.model.close()


async def _ingested(passages: int) -> list[Figure]:
    """First all is embedded, then all is taken in again under another name: what was embedded is remembered."""
    whole = mixed_text(passages * CUT)
    texts = [whole[place : place + DOCUMENT] for place in range(0, len(whole), DOCUMENT)]
    figures = list[Figure]()
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder = Path(made)
        timed, cache = Timed(MiniLMEmbedder(folder)), VectorCache(folder / "embeddings")
        models = Models(timed, MiniLMWords(), RememberingEmbedder(timed, cache))
        await timed.model.embed(["load"])
        for turn in ("first", "again, elsewhere"):
            before, spent = timed.texts, timed.seconds
            begun = time.perf_counter()
            chunks = await _taken_in(folder / turn, texts, models)
            took, within = time.perf_counter() - begun, timed.seconds - spent
            named = f"{chunks:,} passages of {CHUNK} characters, {len(texts):,} documents, {turn}"
            share = f"+ {(took - within) / within * 100:.1f} % of it" if within else ""
            value = f"{took:.1f} s: {within:.1f} s in the model ({timed.texts - before:,} texts) {share}"
            target = "≤ + 15 %" if within else "no text embedded"
            figures.append(Figure(INGESTING, named, "ours", value.strip(), target))
        await timed.close()
        await cache.close()
    return figures


async def _taken_in(folder: Path, texts: Sequence[str], models: Models) -> int:
    store = FaissStore(folder, model=models.embedder.name, dimension=models.embedder.dimension)
    spec = RAGPipelineSpec(chunking=Chunking(chunk_size=CHUNK, overlap=20))
    pipeline = Pipeline(ResourceRef(name="bench"), spec, store, models, folder)
    documents = [given_text(f"{number}.txt", text) for number, text in enumerate(texts)]
    summary = await pipeline.ingest_all(Listing(documents))
    assert not summary.refused
    await store.close()
    return summary.chunks


async def _embedded(texts: list[str], threads: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        embedder = MiniLMEmbedder(Path(made), threads=threads)
        await embedder.embed(texts[:64])
        begun = time.process_time()
        vectors = await embedder.embed(texts)
        took = time.process_time() - begun
        await embedder.close()
    return {"seconds": took, "versions": f"ONNX Runtime {version('onnxruntime')}", "first": vectors[0].tolist()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_embedded(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])))))
