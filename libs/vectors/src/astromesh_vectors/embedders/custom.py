"""Users' own embedders as ours. What such a class offers: `protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.secrets import resolve
from astromesh_core.user_code.modules import UserCode
from astromesh_vectors.embedders.protocol import EmbedderClass, EmbedderProtocol
from astromesh_vectors.own_classes import Own, OwnClasses

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

TEXTS_AT_ONCE: Final = 32
MOST_DIMENSIONS: Final = 65_536


async def open_custom(spec: EmbeddingsSpec, classes: OwnClasses, environ: Mapping[str, str]) -> CustomEmbedder:
    """The embedder of a user's class. Raises InvalidInput for a class, a variable or a dimension that is not there."""
    endpoint = resolve(spec.endpoint, environ) if spec.endpoint else ""
    key = resolve(spec.api_key, environ) if spec.api_key is not None else ""

    def make(found: UserCode) -> object:
        return cast(EmbedderClass, found)(model=spec.model, endpoint=endpoint, api_key=key, dimension=spec.dimension)

    own = await classes.make(spec.provider, make, ("dimension", "embed"), key)
    dimension = cast(object, cast(EmbedderProtocol, own.made).dimension)
    if not isinstance(dimension, int) or isinstance(dimension, bool) or not 0 < dimension <= MOST_DIMENSIONS:
        raise InvalidInput(f"{spec.provider}: its dimension is {dimension!r}; it must be a number of at least 1")
    return CustomEmbedder(f"{spec.provider}/{spec.model}", dimension, own)


class CustomEmbedder:
    """An `Embedder` on a user's object. Vectors are checked and scaled to length one."""

    def __init__(self, name: str, dimension: int, own: Own) -> None:
        self.name = name
        self.dimension = dimension
        self._own = own

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder. Raises what the class raises, InvalidInput where it answers something else than vectors."""
        import numpy as np

        starts = range(0, len(texts), TEXTS_AT_ONCE)
        parts = [await self._batch(texts[start : start + TEXTS_AT_ONCE]) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)

    async def check(self) -> str:
        """See ServedEmbedder: asks for one vector."""
        await self.embed(["."])
        return "Answered"

    async def close(self) -> None:
        """Closes the object, if it can be."""
        await self._own.close()

    async def _batch(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        from astromesh_vectors.unit import unit_rows

        made, path = cast(EmbedderProtocol, self._own.made), self._own.path
        answer = await self._own.call(lambda: made.embed(list(texts)))
        try:
            rows = np.asarray(answer, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{path}: its embed answers no table of numbers, all rows of one length") from error
        if rows.shape != (len(texts), self.dimension):
            shown = "x".join(map(str, rows.shape))
            wanted = f"{len(texts)}x{self.dimension}"
            raise InvalidInput(f"{path}: its embed answers {shown} numbers where {wanted} are wanted")
        try:
            return unit_rows(rows, self.dimension)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error.message}") from error
