"""A cross-encoder on ONNX Runtime, from a folder with its graph and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_vectors.onnx_folder import OnnxFolder, check_folder, grouped
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding

T = TypeVar("T")

_PAIR: Final = 2


class OnnxReranker:
    """Scores from 0 to 1 by a BERT cross-encoder, loaded by the first question, in a thread of its own.

    The graph has one output a pair, whose sigmoid is the score, or two, of which the second says that the text answers.
    A call that is cancelled ends after the batch that is running.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker = WorkerThread("cross-encoder")
        self._model: OnnxFolder | None = None
        self._closed = False

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """See RerankerProtocol. Raises NotFound and InvalidInput where the folder holds no cross-encoder."""
        if not texts:
            return []
        scores = [0.0] * len(texts)
        model, encodings = await self._call(lambda: self._encoded(query, list(texts)))
        for group in grouped(encodings):
            batch = [encodings[index] for index in group]
            logits = await self._call(lambda batch=batch: model.run(batch, model.outputs[0]))
            for index, score in zip(group, self._relevance(logits, len(group)), strict=True):
                scores[index] = score
        return scores

    async def check(self) -> str:
        """See ServedReranker."""
        await self._call(lambda: check_folder(self._folder))
        return "LoadedOnFirstUse"

    async def close(self) -> None:
        """Waits for the batch that runs and frees the model. Idempotent."""
        self._closed = True
        await self._worker.close()
        self._model = None

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("the reranker is closed")
        return await self._worker.call(work)

    def _encoded(self, query: str, texts: list[str]) -> tuple[OnnxFolder, list[Encoding]]:
        if self._model is None:
            self._model = OnnxFolder(self._folder)
        return self._model, self._model.encoded([(query, text) for text in texts])

    def _relevance(self, logits: NDArray[np.float32], count: int) -> list[float]:
        import numpy as np

        rows = logits.astype(np.float64).reshape(count, -1)
        if rows.shape[1] > _PAIR or not np.all(np.isfinite(rows)):
            raise InvalidInput(f"{self._folder}: answers {rows.shape[1]} numbers a pair; a cross-encoder answers one")
        relevance = rows[:, -1] - rows[:, 0] if rows.shape[1] == _PAIR else rows[:, 0]
        return (1.0 / (1.0 + np.exp(-np.clip(relevance, -500.0, 500.0)))).tolist()
