"""Cross-encoders of sentence-transformers, on PyTorch and its GPU where there is one. Needs the extra `torch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.user_code.foreign import Raised, attempt
from astromesh_vectors.embedders.torch_model import LOADING_AGAIN, needs_torch
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

TEXTS_AT_ONCE: Final = 32


class TorchReranker:
    """Scores from 0 to 1 by a model on the hub, or in a folder, loaded by the first question in a thread of its own."""

    def __init__(self, model: str) -> None:
        self._name = model
        self._worker = WorkerThread("cross-encoder")
        self._model: CrossEncoder | None = None
        self._closed = False

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """See RerankerProtocol. Raises Unavailable where the model cannot be loaded."""
        scores: list[float] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            scores += await self._some(query, texts[start : start + TEXTS_AT_ONCE])
        return scores

    async def check(self) -> str:
        """See ServedReranker."""
        needs_torch()
        return "LoadedOnFirstUse"

    async def close(self) -> None:
        """Waits for the pairs that are in the model and frees it. Idempotent."""
        self._closed = True
        await self._worker.close()
        self._model = None

    async def _some(self, query: str, texts: Sequence[str]) -> list[float]:
        if self._closed:
            raise Unavailable("the reranker is closed")
        try:
            return await self._worker.call(lambda: attempt(lambda: self._predicted(query, texts)))
        except Raised as raised:
            error = raised.error
            if isinstance(error, AstromeshError):
                raise error from raised
            said = " ".join(str(error).split())[:300]
            reason = f"cross_encoder {self._name}: {type(error).__name__} ({said})"
            raise Unavailable(reason, retry_after=LOADING_AGAIN) from raised

    def _predicted(self, query: str, texts: Sequence[str]) -> list[float]:
        needs_torch()
        import numpy as np
        from sentence_transformers import CrossEncoder
        from torch.nn import Sigmoid

        if self._model is None:
            self._model = CrossEncoder(self._name)
        pairs = [(query, text) for text in texts]
        # By itself a model gives what its authors configured, logits or scores; asked for, it gives scores.
        scores = self._model.predict(
            pairs, batch_size=TEXTS_AT_ONCE, show_progress_bar=False, activation_fn=Sigmoid(), convert_to_numpy=True
        )
        return np.asarray(scores, dtype=np.float64).reshape(len(texts)).tolist()
