"""Opens rerankers as pipelines declare them: the one place that names the concrete ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from astromesh_core.errors import InvalidInput, NotSupported, Unavailable
from astromesh_core.resources.extras import TORCH
from astromesh_core.resources.reranking import Reranking
from astromesh_core.user_code.modules import Modules
from astromesh_vectors.onnx_folder import folder_of
from astromesh_vectors.own_classes import OwnClasses
from astromesh_vectors.rerankers.custom import open_custom
from astromesh_vectors.rerankers.onnx_model import OnnxReranker
from astromesh_vectors.rerankers.protocol import ServedReranker
from astromesh_vectors.rerankers.torch_model import TorchReranker

COHERE: Final = "https://api.cohere.com"
COHERE_KEY: Final = "COHERE_API_KEY"
"""The variable whose key goes to `COHERE`, and to no other address."""


class Rerankers:
    """The rerankers of one service, those of equal declarations one. `models` is the folder of the user's own models.

    Made and closed on the event loop's thread; `modules` and `environ` stay the caller's.
    """

    def __init__(self, models: Path, modules: Modules, environ: Mapping[str, str]) -> None:
        self._models = models
        self._environ = environ
        self._classes = OwnClasses(modules)
        self._opening = asyncio.Lock()
        self._open: dict[Reranking, ServedReranker] = {}
        self._closed = False

    async def of(self, spec: Reranking) -> ServedReranker:
        """The reranker that a pipeline declares; the caller does not close it.

        Raises NotSupported with the command that installs what is missing, InvalidInput for a class or a variable that
        is not there.
        """
        same = spec.model_copy(update={"enabled": True, "top_k": None})
        async with self._opening:
            if self._closed:
                raise Unavailable("this service stops: no more rerankers are opened")
            if same not in self._open:
                self._open[same] = await self._made(same)
            return self._open[same]

    async def close(self) -> None:
        """Closes them all. Idempotent."""
        async with self._opening:
            self._closed = True
            rerankers, self._open = self._open, {}
        for reranker in rerankers.values():
            await reranker.close()
        self._classes.close()

    async def _made(self, spec: Reranking) -> ServedReranker:
        if spec.is_custom:
            return await open_custom(spec, self._classes, self._environ)
        if spec.provider == "cohere":
            return self._cohere(spec)
        folder = await asyncio.to_thread(folder_of, self._models, spec.model)
        if folder is not None:
            return OnnxReranker(folder)
        if not TORCH.installed:
            place = self._models / spec.model
            raise NotSupported(f"{spec.model}: there is no folder {place} with its ONNX graph; or {TORCH.advice}")
        return TorchReranker(spec.model)

    def _cohere(self, spec: Reranking) -> ServedReranker:
        # Imported here: most meshes ask no server, and its HTTP client is slow to import.
        from astromesh_vectors.remote.opening import address
        from astromesh_vectors.remote.server import Server
        from astromesh_vectors.rerankers.cohere import CohereReranker

        key = spec.api_key
        if spec.endpoint is None and key is None:
            if not self._environ.get(COHERE_KEY):
                raise InvalidInput(f"cohere: needs a key; set {COHERE_KEY}, or name another variable in api_key")
            key = f"${{{COHERE_KEY}}}"
        return CohereReranker(Server(address("cohere", spec.endpoint or COHERE, key, self._environ)), spec.model)
