"""Cohere's Rerank, `POST /v2/rerank` (https://docs.cohere.com/reference/rerank), and servers that speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from astromesh_core.errors import Unavailable
from astromesh_vectors.remote.server import ATTEMPTS, Server


class CohereReranker:
    """Scores from 0 to 1 by a model behind an endpoint."""

    def __init__(self, server: Server, model: str) -> None:
        self._server = server
        self._model = model

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """See RerankerProtocol. Raises what `Server.ask` raises."""
        return await self._asked(query, texts, ATTEMPTS) if texts else []

    async def _asked(self, query: str, texts: Sequence[str], attempts: int) -> list[float]:
        body = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        answer = await self._server.ask("/v2/rerank", body, attempts=attempts)
        scores = _scores(answer)
        if scores.keys() != set(range(len(texts))):
            label = self._server.address.label
            raise Unavailable(f"{label}: its answer holds no score for each text; check that the endpoint is right")
        return [scores[index] for index in range(len(texts))]

    async def check(self) -> str:
        """See ServedReranker: asks once for one score, and so sees whether the key and the model are good."""
        await self._asked("?", ["."], 1)
        return "Answered"

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._server.close()


def _scores(answer: object) -> dict[int, float]:
    """The scores by the places of their texts; what is no result is left out."""
    results = cast("dict[str, object]", answer).get("results") if isinstance(answer, dict) else None
    found: dict[int, float] = {}
    for result in cast("list[object]", results) if isinstance(results, list) else []:
        told = cast("dict[str, object]", result) if isinstance(result, dict) else {}
        index, score = told.get("index"), told.get("relevance_score")
        if isinstance(index, int) and isinstance(score, int | float):
            found[index] = float(score)
    return found
