"""Models of sentence-transformers, on PyTorch and its GPU where there is one. Needs the extra `torch`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh_core.errors import AstromeshError, InvalidInput, NotSupported, Unavailable
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.extras import TORCH
from astromesh_core.user_code.foreign import Raised, attempt
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

TEXTS_AT_ONCE: Final = 64
LOADING_AGAIN: Final = 60.0
"""Seconds after which a model that could not be loaded is worth another try."""

GPU = Path("/dev/nvidiactl")


def needs_torch() -> None:
    """Raises NotSupported with the install command where sentence-transformers is not installed."""
    if not TORCH.installed:
        raise NotSupported(f"{TORCH.missing}; {TORCH.advice}")


async def has_gpu() -> bool:
    """Whether sentence-transformers is installed and there is a GPU for it. Imports it only on machines with one."""
    return TORCH.installed and await asyncio.to_thread(_cuda_is_available)


class TorchModel:
    """A model of sentence-transformers, loaded by its first use, in a thread of its own. `name` names it in errors.

    `model` is a name on the hub or a folder. All methods raise Unavailable where it cannot be loaded.
    """

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        self._model_name = model
        self._worker = WorkerThread("sentence-transformers")
        self._model: SentenceTransformer | None = None
        self._closed = False

    async def dimension(self) -> int:
        """How long its vectors are. Loads it."""
        return await self._call(lambda: _length(self._loaded()))

    async def vectors(self, texts: list[str]) -> Vectors:
        """One unit-length row a text."""
        return await self._call(lambda: self._encoded(texts))

    async def close(self) -> None:
        """Waits for the texts that are in it and frees it. Idempotent."""
        self._closed = True
        await self._worker.close()
        self._model = None

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("the embedder is closed")
        try:
            return await self._worker.call(lambda: attempt(work))
        except Raised as raised:
            error = raised.error
            if isinstance(error, AstromeshError):
                raise error from raised
            said = " ".join(str(error).split())[:300]
            raise Unavailable(f"{self.name}: {type(error).__name__} ({said})", retry_after=LOADING_AGAIN) from raised

    def _encoded(self, texts: list[str]) -> Vectors:
        return self._loaded().encode(
            texts, batch_size=TEXTS_AT_ONCE, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            needs_torch()
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(self._model_name)
        return self._model


class TorchEmbedder:
    """An `Embedder` on such a model. Texts go through it 64 at a time: a call that is cancelled ends after those."""

    def __init__(self, name: str, dimension: int, model: TorchModel) -> None:
        self.name = name
        self.dimension = dimension
        self._model = model

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder. Raises Unavailable where the model cannot be loaded, InvalidInput for another dimension."""
        import numpy as np

        starts = range(0, len(texts), TEXTS_AT_ONCE)
        parts = [await self._batch(list(texts[start : start + TEXTS_AT_ONCE])) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)

    async def check(self) -> str:
        """See ServedEmbedder. Raises NotSupported."""
        needs_torch()
        return "LoadedOnFirstUse"

    async def close(self) -> None:
        """Frees the model. Idempotent."""
        await self._model.close()

    async def _batch(self, texts: list[str]) -> Vectors:
        vectors = await self._model.vectors(texts)
        made = vectors.shape[1]
        if made != self.dimension:
            raise InvalidInput(f"{self.name}: makes vectors of {made}, declared are {self.dimension}; write {made}")
        return vectors


async def open_torch(spec: EmbeddingsSpec) -> TorchEmbedder:
    """The embedder that a resource declares. Where nobody said how long its vectors are, the model is loaded for that.

    Raises NotSupported, Unavailable.
    """
    needs_torch()
    model = TorchModel(f"{spec.provider}:{spec.model}", spec.model)
    return TorchEmbedder(model.name, spec.dimension or spec.known_dimension or await model.dimension(), model)


def _length(model: SentenceTransformer) -> int:
    dimension = model.get_embedding_dimension()
    if dimension is None:
        raise InvalidInput("the model does not say how long its vectors are; declare the dimension")
    return dimension


def _cuda_is_available() -> bool:
    if not GPU.exists():
        return False
    import torch

    return torch.cuda.is_available()
