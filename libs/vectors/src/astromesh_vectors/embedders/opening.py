"""Opens embedders as resources declare them: the one place that names the concrete ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from astromesh_core.errors import Unavailable
from astromesh_core.resources.embeddings import MINILM, EmbeddingsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_vectors.embedders.built_in import BuiltInEmbedder
from astromesh_vectors.embedders.cache import VectorCache
from astromesh_vectors.embedders.custom import open_custom
from astromesh_vectors.embedders.onnx_model import open_onnx
from astromesh_vectors.embedders.recent import RecentEmbedder
from astromesh_vectors.embedders.served import CachedEmbedder, CheckedEmbedder, ServedEmbedder
from astromesh_vectors.embedders.torch_model import TorchEmbedder, TorchModel, has_gpu, open_torch
from astromesh_vectors.minilm.graph import DIMENSION
from astromesh_vectors.minilm.weights import find_model
from astromesh_vectors.own_classes import OwnClasses

FOLDER: Final = "embeddings"
"""Of the data folder: what is remembered."""


class _Held:
    """An embedder that is open, or being opened, and how many of the process use it."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.embedder: CheckedEmbedder | None = None
        self.users = 0


_HELD: dict[tuple[Path, EmbeddingsSpec], _Held] = {}


class Embedders:
    """The embedders of one service. Services of a process that use one data folder share those of equal specs.

    Made and closed on the event loop's thread. `modules` finds users' own classes, `environ` holds what secrets refer
    to; both stay the caller's.
    """

    def __init__(self, data: Path, modules: Modules, environ: Mapping[str, str]) -> None:
        self._data = data.absolute()
        self._environ = environ
        self._classes = OwnClasses(modules)
        self._cache = VectorCache(self._data / FOLDER)
        self._taken: dict[EmbeddingsSpec, _Held] = {}
        self._served: dict[EmbeddingsSpec, ServedEmbedder] = {}
        self._closed = False

    async def of(self, spec: EmbeddingsSpec) -> ServedEmbedder:
        """The embedder that a resource declares; the same one each time, until `close`. The caller does not close it.
        What is written before texts is the caller's: `embedders.prefixed`.

        Its dimension is known: declared, well known, or asked of the model here. Raises NotSupported with the command
        that installs what is missing, InvalidInput for a class or a variable that is not there, and a TemporaryError
        where a server has to be asked and does not answer.
        """
        if self._closed:
            raise Unavailable("this service stops: no more embedders are opened")
        spec = spec.without_prefixes
        if spec in self._served:
            return self._served[spec]
        held = self._taken.get(spec)
        if held is None:
            held = self._taken[spec] = _HELD.setdefault((self._data, spec), _Held())
            held.users += 1
        async with held.opening:
            if held.embedder is None:
                held.embedder = RecentEmbedder(await self._open(spec))
        return self._served.setdefault(spec, CachedEmbedder(held.embedder, self._cache))

    async def close(self) -> None:
        """Leaves the embedders to the other services, and closes those that nobody else uses. Idempotent."""
        self._closed = True
        taken, self._taken = self._taken, {}
        for spec, held in taken.items():
            held.users -= 1
            if held.users == 0:
                del _HELD[self._data, spec]
                if held.embedder is not None:
                    await held.embedder.close()
        self._served.clear()
        self._classes.close()
        await self._cache.close()

    async def _open(self, spec: EmbeddingsSpec) -> CheckedEmbedder:
        if spec.is_custom:
            return await open_custom(spec, self._classes, self._environ)
        if spec.is_built_in:
            # With a GPU, sentence-transformers makes the same vectors of the same weights faster.
            on_gpu = spec.provider == "sentence_transformers" and await has_gpu()
            model = TorchModel(MINILM, str(find_model())) if on_gpu else None
            return TorchEmbedder(MINILM, DIMENSION, model) if model is not None else BuiltInEmbedder(self._data)
        if spec.provider == "sentence_transformers":
            return await open_torch(spec)
        if spec.provider in ("ollama", "huggingface"):
            # Imported here: most meshes ask no server, and its HTTP client is slow to import.
            from astromesh_vectors.remote.opening import open_remote

            return await open_remote(spec, self._environ)
        return await open_onnx(spec, self._data / "models")
