"""Embedding models of the user's own on ONNX Runtime: a folder with the graph, its tokenizer and how it is pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

import orjson

from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_vectors.onnx_folder import OnnxFolder, check_folder, folder_of, grouped
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding

    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

POOLING: Final = "1_Pooling/config.json"
WHOLE: Final = "sentence_embedding"
"""The output of graphs that pool by themselves."""

_OF_TOKENS: Final = 3


async def open_onnx(spec: EmbeddingsSpec, models: Path) -> OnnxEmbedder:
    """The embedder that a resource declares. Where nobody said how long its vectors are, the model is loaded for that.

    Raises NotFound where there is no such folder, InvalidInput where it holds no embedding model.
    """
    model = OnnxModel(models, spec.model)
    try:
        dimension = spec.dimension or spec.known_dimension or len((await model.vectors(["."]))[0])
    except BaseException:
        await model.close()
        raise
    return OnnxEmbedder(f"{spec.provider}:{spec.model}", dimension, model)


class OnnxModel:
    """A model in a folder, absolute or below `models`, loaded by its first use, in a thread of its own."""

    def __init__(self, models: Path, name: str) -> None:
        self._models = models
        self._name = name
        self._worker = WorkerThread("onnx-embedder")
        self._loaded: OnnxFolder | None = None
        self._by_first_token = False
        self._closed = False

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """One vector a text, of any length but zero. Cancelling a call stops it after the batch that is running."""
        import numpy as np

        model, encodings = await self._call(lambda: self._encoded(list(texts)))
        groups = grouped(encodings)
        batches = [[encodings[at] for at in group] for group in groups]
        parts = [await self._call(lambda batch=batch: self._pooled(model, batch)) for batch in batches]
        rows = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        for group, part in zip(groups, parts, strict=True):
            rows[group] = part
        return rows

    async def check(self) -> None:
        """Raises NotFound where files are missing."""
        await self._call(lambda: check_folder(self._folder()))

    async def close(self) -> None:
        """Waits for the batch that runs and frees the model. Idempotent."""
        self._closed = True
        await self._worker.close()
        self._loaded = None

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("the embedder is closed")
        return await self._worker.call(work)

    def _folder(self) -> Path:
        folder = folder_of(self._models, self._name)
        if folder is None:
            raise NotFound(f"onnx: there is no folder {self._models / self._name} with the model's graph and tokenizer")
        return folder

    def _encoded(self, texts: list[str]) -> tuple[OnnxFolder, list[Encoding]]:
        if self._loaded is None:
            folder = self._folder()
            self._by_first_token = _pools_first_token(folder)
            self._loaded = OnnxFolder(folder)
        return self._loaded, self._loaded.encoded(texts)

    def _pooled(self, model: OnnxFolder, batch: Sequence[Encoding]) -> NDArray[np.float32]:
        import numpy as np

        output = model.run(batch, WHOLE if WHOLE in model.outputs else model.outputs[0])
        if output.ndim != _OF_TOKENS:
            return output.reshape(len(batch), -1)
        if self._by_first_token:
            return output[:, 0]
        mask = model.fed(batch)["attention_mask"][:, :, None].astype(np.float32)
        return (output * mask).sum(axis=1) / mask.sum(axis=1)


class OnnxEmbedder:
    """An `Embedder` on such a model."""

    def __init__(self, name: str, dimension: int, model: OnnxModel) -> None:
        self.name = name
        self.dimension = dimension
        self._model = model

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder. Raises InvalidInput where the model makes vectors of another length than declared."""
        import numpy as np

        from astromesh_vectors.unit import unit_rows

        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        rows = await self._model.vectors(texts)
        made = rows.shape[1]
        if made != self.dimension:
            raise InvalidInput(f"{self.name}: makes vectors of {made}, declared are {self.dimension}; write {made}")
        return unit_rows(rows, self.dimension)

    async def check(self) -> str:
        """See ServedEmbedder."""
        await self._model.check()
        return "LoadedOnFirstUse"

    async def close(self) -> None:
        """Frees the model. Idempotent."""
        await self._model.close()


def _pools_first_token(folder: Path) -> bool:
    """Whether a text's vector is that of its first token, by what sentence-transformers writes; else it is the mean."""
    try:
        told: object = orjson.loads((folder / POOLING).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(told, dict) and cast("dict[str, object]", told).get("pooling_mode_cls_token") is True
