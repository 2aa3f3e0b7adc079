"""Vectors that a model server makes, in batches. Its wire format stands in `formats`, its failures in `server`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from astromesh_core.errors import InvalidInput, LimitExceeded, Unavailable
from astromesh_vectors.remote.formats import TEXTS_AT_ONCE, EmbeddingFormat, Malformed, Rows
from astromesh_vectors.remote.server import ATTEMPTS, Server

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

BLANK: Final = "."
"""Asked in place of a text without a letter: servers refuse empty ones, or answer nothing for them."""


class RemoteModel:
    """A model behind a server, whose vectors may be of any length."""

    def __init__(self, server: Server, wire_format: EmbeddingFormat) -> None:
        self.server = server
        self._format = wire_format

    async def rows(self, texts: Sequence[str], *, attempts: int = ATTEMPTS) -> Rows:
        """One vector a text, in order, as the server gives them. Raises what `Server.ask` raises.

        A batch that is too large for the server is asked in halves.
        """
        asked = [text if text.strip() else BLANK for text in texts]
        try:
            answer = await self.server.ask(self._format.path, self._format.body(asked), attempts=attempts)
        except LimitExceeded:
            if len(texts) == 1:
                raise
            half = len(texts) // 2
            return await self.rows(texts[:half]) + await self.rows(texts[half:])
        label = self.server.address.label
        try:
            rows = self._format.rows(answer)
        except Malformed as error:
            raise Unavailable(f"{label}: {error}; check that the endpoint and the model are right") from error
        if len(rows) != len(texts):
            raise Unavailable(f"{label}: answered {len(rows)} vectors for {len(texts)} texts")
        return rows

    async def dimension(self) -> int:
        """How long the vectors are, asked once with one text."""
        return len((await self.rows([BLANK], attempts=1))[0])


class RemoteEmbedder:
    """An `Embedder` on a server's model. `name` names the model, `dimension` is what every vector must have."""

    def __init__(self, name: str, dimension: int, model: RemoteModel) -> None:
        self.name = name
        self.dimension = dimension
        self._model = model

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder. Batches go out together, a few at once; one that fails ends the others.

        Raises InvalidInput where the model makes vectors of another length than declared.
        """
        import numpy as np

        starts = range(0, len(texts), TEXTS_AT_ONCE)
        batches = [asyncio.ensure_future(self._batch(texts[start : start + TEXTS_AT_ONCE])) for start in starts]
        try:
            parts = await asyncio.gather(*batches)
        finally:
            for batch in batches:
                batch.cancel()
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)

    async def check(self) -> str:
        """See ServedEmbedder: asks once for one vector."""
        self._check(await self._model.dimension())
        return "Answered"

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._model.server.close()

    async def _batch(self, texts: Sequence[str]) -> Vectors:
        rows = await self._model.rows(texts)
        for row in rows:
            self._check(len(row))
        return await asyncio.to_thread(_unit, rows, self.dimension)

    def _check(self, made: int) -> None:
        if made != self.dimension:
            label = self._model.server.address.label
            raise InvalidInput(f"{label}: makes vectors of {made}, declared are {self.dimension}; write {made}")


def _unit(rows: Rows, dimension: int) -> Vectors:
    import numpy as np

    from astromesh_vectors.unit import unit_rows

    return unit_rows(np.asarray(rows, dtype=np.float32), dimension)
