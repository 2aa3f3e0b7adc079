"""Users' own rerankers as ours. What such a class offers: `protocol`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.reranking import Reranking
from astromesh_core.resources.secrets import resolve
from astromesh_core.user_code.modules import UserCode
from astromesh_vectors.own_classes import Own, OwnClasses
from astromesh_vectors.rerankers.protocol import RerankerClass, RerankerProtocol


async def open_custom(spec: Reranking, classes: OwnClasses, environ: Mapping[str, str]) -> CustomReranker:
    """The reranker of a user's class. Raises InvalidInput for a class or a variable that is not there."""
    endpoint = resolve(spec.endpoint, environ) if spec.endpoint else ""
    key = resolve(spec.api_key, environ) if spec.api_key is not None else ""

    def make(found: UserCode) -> object:
        return cast(RerankerClass, found)(model=spec.model, endpoint=endpoint, api_key=key)

    return CustomReranker(await classes.make(spec.provider, make, ("scores",), key))


class CustomReranker:
    """A `ServedReranker` on a user's object, whose scores are checked."""

    def __init__(self, own: Own) -> None:
        self._own = own

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """See RerankerProtocol. Raises what the class raises, InvalidInput where it answers something else."""
        made, path = cast(RerankerProtocol, self._own.made), self._own.path
        answer = await self._own.call(lambda: made.scores(query, list(texts)))
        try:
            scores = [float(score) for score in answer]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{path}: its scores answers no list of numbers") from error
        if len(scores) != len(texts) or not all(map(math.isfinite, scores)):
            raise InvalidInput(f"{path}: its scores answers {len(scores)} numbers for {len(texts)} texts, or none")
        return scores

    async def check(self) -> str:
        """See ServedReranker: asks for one score."""
        await self.scores("?", ["."])
        return "Answered"

    async def close(self) -> None:
        """Closes the object, if it can be."""
        await self._own.close()
