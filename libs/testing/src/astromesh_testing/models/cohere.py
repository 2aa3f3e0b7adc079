"""A fake of Cohere's Rerank: `/v2/rerank`, which wants a key. Texts that share words with the query score higher."""

from __future__ import annotations

from collections import deque
from typing import cast

import orjson

from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.models.replies import Drop, Hang, Refusal, Rubbish

JsonObject = dict[str, object]
KEY = "cohere_secret"


class CohereServer(LoopbackServer):
    """Answers after the faults of its script, one a request. `requests` holds every body in order of arrival."""

    def __init__(self, *script: Refusal | Rubbish | Hang | Drop) -> None:
        super().__init__(self._answer)
        self.script = deque(script)
        self.requests: list[JsonObject] = []

    async def asked(self, count: int = 1) -> None:
        """Returns once so many requests have come."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)

    async def _answer(self, exchange: Exchange) -> None:
        body = cast("JsonObject", orjson.loads(exchange.request.body))
        async with self.changed:
            self.requests.append(body)
            self.changed.notify_all()
        match self.script.popleft() if self.script else self._refused(exchange):
            case Refusal() as refusal:
                told = orjson.dumps({"id": "r1", "message": refusal.message})
                headers = {"retry-after": refusal.retry_after} if refusal.retry_after else {}
                await exchange.send(refusal.status, told, "application/json", headers)
            case Rubbish() as rubbish:
                await exchange.send(200, rubbish.body, rubbish.content_type)
            case Hang():
                await exchange.hang()
            case Drop():
                exchange.break_off()
            case None:
                await exchange.send(200, orjson.dumps(_ranked(body)), "application/json")

    def _refused(self, exchange: Exchange) -> Refusal | None:
        if exchange.request.path != "/v2/rerank":
            return Refusal(404, "not found")
        if exchange.request.headers.get("authorization") != f"Bearer {KEY}":
            return Refusal(401, "invalid api token")
        return None


def _ranked(body: JsonObject) -> JsonObject:
    """Results best first, as Cohere gives them."""
    query = set(str(body["query"]).lower().split())
    documents = cast("list[str]", body["documents"])
    scores = [len(query & set(text.lower().rstrip(".").split())) / (1 + len(query)) for text in documents]
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: cast("int", body["top_n"])]
    results = [{"index": index, "relevance_score": scores[index]} for index in best]
    return {"id": "r1", "results": results, "meta": {"billed_units": {"search_units": 1}}}
