"""How often one of the first five passages answers a question, by each way of finding. Set: `python_reference`.

python bench/retrieval_quality.py '[a-c]*.txt'   of these pages alone, as JSON
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from figures import Figure

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.rag_pipeline import DirectorySource, RAGPipelineSpec, Retrieval
from astromesh_core.resources.reranking import Reranking
from astromesh_core.user_code.modules import Modules
from astromesh_rag.folders import list_files
from astromesh_rag.pipeline import MOST_PASSAGES, Models, Pipeline
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.rerankers.opening import Rerankers

SCENARIO: Final = "Questions over the reference of Python, recall@5"
FOLDER: Final = Path(__file__).parent / "python_reference"
RERANKER: Final = "ASTROMESH_BENCH_RERANKER"
"""Names a folder with the ONNX graph of a cross-encoder, whose weights nobody ships."""

TOP_K: Final = 5
MODES: Final = ("vector", "keyword", "hybrid")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and words that only an answer holds."""

    question: str
    answer: str

    def is_answered_by(self, text: str) -> bool:
        """Whether a passage holds the answer."""
        return self.answer in " ".join(text.split())


def questions() -> list[Question]:
    """All of the set."""
    return [Question(**json.loads(line)) for line in (FOLDER / "questions.jsonl").read_text().splitlines()]


def measure(share: float) -> Iterator[Figure]:
    """Of every question, whatever the share: it takes less than a minute."""
    del share
    yield from uvloop.run(_measured())


@asynccontextmanager
async def taken_in(folder: Path, glob: str) -> AsyncGenerator[Pipeline]:
    """The pages in a pipeline as it is without settings, on the built-in model."""
    modules = Modules(folder / "classes")
    embedders, rerankers = Embedders(folder, modules, {}), Rerankers(folder, modules, {})
    embedder = await embedders.of(EmbeddingsSpec())
    store = FaissStore(folder / "store", model=embedder.name, dimension=embedder.dimension)
    models = Models(embedder, MiniLMWords(), rerankers=rerankers.of)
    pipeline = Pipeline(ResourceRef(name="reference"), RAGPipelineSpec(), store, models, folder)
    source = DirectorySource(type="directory", path="pages", glob=(glob,))
    await pipeline.ingest_all(list_files(FOLDER, [source]))
    try:
        yield pipeline
    finally:
        await store.close()
        await rerankers.close()
        await embedders.close()
        modules.close()


async def recall(pipeline: Pipeline, asked: Sequence[Question], spec: RAGPipelineSpec) -> float:
    """The share of questions that one of the first passages answers."""
    pipeline.spec = spec
    answered = 0
    for question in asked:
        found = await pipeline.query(question.question, TOP_K)
        answered += any(question.is_answered_by(passage.text.text) for passage in found)
    return answered / len(asked)


async def reachable(pipeline: Pipeline, asked: Sequence[Question]) -> float:
    """The share of questions that any passage answers: what a finder that never errs would have."""
    pipeline.spec = RAGPipelineSpec(retrieval=Retrieval(mode="keyword"))
    answered = 0
    for question in asked:
        # The answer's own words, of which no other passage has as many.
        found = await pipeline.query(question.answer, MOST_PASSAGES)
        answered += any(question.is_answered_by(passage.text.text) for passage in found)
    return answered / len(asked)


def finding(mode: str, reranking: Reranking | None = None) -> RAGPipelineSpec:
    """A pipeline that finds in this way."""
    retrieval = Retrieval.model_validate({"mode": mode, "top_k": TOP_K})
    return RAGPipelineSpec(retrieval=retrieval, reranking=reranking or Reranking())


async def _measured() -> list[Figure]:
    asked, figures = questions(), list[Figure]()
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        async with taken_in(Path(made), "*.txt") as pipeline:
            chunks = (await pipeline.figures()).chunks
            what = f"{len(asked)} questions, {chunks:,} passages of 500 characters"
            ways = {mode: finding(mode) for mode in MODES}
            folder = os.environ.get(RERANKER)
            if folder:
                ways["hybrid, reranked"] = finding("hybrid", Reranking(enabled=True, model=folder))
            for name, spec in ways.items():
                begun = time.perf_counter()
                share = await recall(pipeline, asked, spec)
                took = (time.perf_counter() - begun) / len(asked) * 1e3
                target = "the most of all" if name == "hybrid" else ""
                figures.append(Figure(SCENARIO, what, name, f"{share:.3f} ({took:.1f} ms a question)", target))
            held = await reachable(pipeline, asked)
            figures.append(Figure(SCENARIO, what, "a perfect finder", f"{held:.3f}: the others a chunk's edge parts"))
            if not folder:
                value = f"not measured: set {RERANKER} to a folder with a cross-encoder's ONNX graph"
                figures.append(Figure(SCENARIO, what, "hybrid, reranked", value))
    return figures


async def _sampled(glob: str) -> dict[str, object]:
    pages = [" ".join(path.read_text().split()) for path in (FOLDER / "pages").glob(glob)]
    asked = [question for question in questions() if any(map(question.is_answered_by, pages))]
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        async with taken_in(Path(made), glob) as pipeline:
            return {"questions": len(asked), **{mode: await recall(pipeline, asked, finding(mode)) for mode in MODES}}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_sampled(sys.argv[1]))))
