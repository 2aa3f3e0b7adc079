"""Whether a pipeline's models can be asked: noted when it is opened, and once a minute after that."""

from __future__ import annotations

from time import monotonic
from typing import Final

from astromesh.v1.control_pb2 import Condition
from astromesh_core.errors import AstromeshError
from astromesh_rag import conditions
from astromesh_rag.conditions import Observed
from astromesh_rag.pipelines import Declared

EVERY_SECONDS: Final = 60.0
"""A model server is asked for one vector each time; a model of this process only whether it is installed."""

_TYPES: Final = (conditions.LOADED, conditions.RERANKER)


class ModelChecks:
    """Looks at models, each pipeline's in its own time."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}

    async def check(self, declared: Declared, observed: Observed) -> AstromeshError | None:
        """Notes how embedder and reranker are; the answer is why the embedder cannot be asked."""
        self._due[declared.ref.namespace, declared.ref.name] = monotonic() + EVERY_SECONDS
        await _check_reranker(declared, observed)
        assert declared.embedder is not None
        try:
            observed.note(conditions.model_at_hand(await declared.embedder.check()))
        except AstromeshError as error:
            observed.note(conditions.model_missing(error))
            return error
        return None

    async def check_again(self, declared: Declared, observed: Observed) -> bool:
        """Whether something is other than it was when last looked at. Looks once a minute."""
        if monotonic() < self._due.get((declared.ref.namespace, declared.ref.name), 0.0):
            return False
        before = _told(observed)
        await self.check(declared, observed)
        return _told(observed) != before


async def _check_reranker(declared: Declared, observed: Observed) -> None:
    observed.conditions.pop(conditions.RERANKER, None)
    if declared.pipeline is None:
        return
    try:
        reranker = await declared.pipeline.reranker()
        if reranker is not None:
            observed.note(conditions.reranker_at_hand(await reranker.check()))
    except AstromeshError as error:
        observed.note(conditions.reranker_missing(error))


def _told(observed: Observed) -> list[Condition | None]:
    return [observed.conditions.get(kind) for kind in _TYPES]
