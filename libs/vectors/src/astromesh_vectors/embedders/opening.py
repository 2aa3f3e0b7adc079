"""Opens embedders as resources declare them: the one place that names the concrete ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from astromesh_core.errors import NotSupported, Unavailable
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_vectors.embedders.built_in import BuiltInEmbedder
from astromesh_vectors.embedders.served import ServedEmbedder


class _Held:
    """An embedder that is open, or being opened, and how many of the process use it."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.embedder: ServedEmbedder | None = None
        self.users = 0


_HELD: dict[tuple[Path, EmbeddingsSpec], _Held] = {}


class Embedders:
    """The embedders of one service. Services of a process that use one data folder share those of equal specs.

    Made and closed on the event loop's thread. `modules` finds users' own classes, `environ` holds what secrets refer
    to; both stay the caller's.
    """

    def __init__(self, data: Path, modules: Modules, environ: Mapping[str, str]) -> None:
        self._data = data.absolute()
        self._modules = modules
        self._environ = environ
        self._taken: dict[EmbeddingsSpec, _Held] = {}
        self._closed = False

    async def of(self, spec: EmbeddingsSpec) -> ServedEmbedder:
        """The embedder that a resource declares; the same one each time, until `close`. The caller does not close it.

        Its dimension is known: declared, well known, or asked of the model here. Raises NotSupported with the command
        that installs what is missing, InvalidInput for a class or a variable that is not there and for a dimension that
        is not the model's, and a TemporaryError where a server has to be asked and does not answer.
        """
        if self._closed:
            raise Unavailable("this service stops: no more embedders are opened")
        held = self._taken.get(spec)
        if held is None:
            held = self._taken[spec] = _HELD.setdefault((self._data, spec), _Held())
            held.users += 1
        async with held.opening:
            if held.embedder is None:
                held.embedder = await self._open(spec)
            return held.embedder

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

    async def _open(self, spec: EmbeddingsSpec) -> ServedEmbedder:
        if spec.is_built_in:
            return BuiltInEmbedder(self._data)
        raise NotSupported(f"embeddings by {spec.provider} with {spec.model} are not built yet")
