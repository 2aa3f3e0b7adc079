"""Fake servers of embedding models: Ollama's, Text Embeddings Inference, and Hugging Face's Inference API."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote

import orjson

from astromesh_testing.embedding import WordEmbedder
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.models.replies import Drop, Hang, Refusal, Rubbish

Fault = Refusal | Rubbish | Hang | Drop
JsonObject = dict[str, object]


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request as a server received it."""

    path: str
    headers: dict[str, str]
    body: JsonObject
    texts: list[str]


class EmbeddingServer(LoopbackServer):
    """Answers with the vectors of `WordEmbedder`, after the faults of its script, one a request.

    `requests` holds every request in order of arrival. Entered, it is at `url`.
    """

    texts_field = "inputs"

    def __init__(self, *script: Fault, dimension: int = 16, most_texts: int = 32) -> None:
        super().__init__(self._answer)
        self.script: deque[Fault] = deque(script)
        self.requests: list[EmbeddingRequest] = []
        self.most_texts = most_texts
        self._embedder = WordEmbedder(dimension)

    @property
    def texts(self) -> list[str]:
        """Every text that was asked for."""
        return [text for request in self.requests for text in request.texts]

    async def asked(self, count: int = 1) -> None:
        """Returns once so many requests have come."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)

    async def answer(self, exchange: Exchange, request: EmbeddingRequest, rows: list[list[float]]) -> None:
        """Answers with vectors in the vendor's format."""
        await exchange.send(200, orjson.dumps(rows), "application/json")

    def refused(self, request: EmbeddingRequest) -> Refusal | None:
        """What the vendor refuses by itself."""
        raise NotImplementedError

    def error_body(self, refusal: Refusal) -> bytes:
        """The vendor's error body."""
        return orjson.dumps({"error": refusal.message})

    async def _answer(self, exchange: Exchange) -> None:
        asked = exchange.request
        body = cast("JsonObject", orjson.loads(asked.body))
        texts = cast("list[str]", body.get(self.texts_field, []))
        request = EmbeddingRequest(unquote(asked.path), asked.headers, body, texts)
        async with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        fault = self.script.popleft() if self.script else self.refused(request)
        if fault is None:
            await self.answer(exchange, request, (await self._embedder.embed(texts)).tolist())
        else:
            await self._fail(exchange, fault)

    async def _fail(self, exchange: Exchange, fault: Fault) -> None:
        match fault:
            case Refusal():
                told = {"retry-after": fault.retry_after, "location": fault.location}
                body = self.error_body(fault) if fault.body is None else fault.body
                headers = {name: value for name, value in told.items() if value}
                await exchange.send(fault.status, body, "application/json", headers)
            case Rubbish():
                await exchange.send(200, fault.body, fault.content_type)
            case Hang():
                await exchange.hang()
            case Drop():
                exchange.break_off()


class OllamaEmbeddings(EmbeddingServer):
    """`/api/embed` of Ollama: every model that is asked for is there, but those that are called `missing`."""

    texts_field = "input"

    def refused(self, request: EmbeddingRequest) -> Refusal | None:
        model = str(request.body.get("model"))
        if request.path != "/api/embed":
            return Refusal(404, "404 page not found")
        if model.startswith("missing"):
            return Refusal(404, f'model "{model}" not found, try pulling it first')
        return None

    async def answer(self, exchange: Exchange, request: EmbeddingRequest, rows: list[list[float]]) -> None:
        wanted = request.body.get("dimensions")
        shortened = [row[:wanted] if isinstance(wanted, int) else row for row in rows]
        answer = {"model": request.body["model"], "embeddings": shortened, "total_duration": 1, "load_duration": 1}
        await exchange.send(200, orjson.dumps(answer), "application/json")


class TextEmbeddingsServer(EmbeddingServer):
    """`/embed` of Text Embeddings Inference: refuses more than `most_texts` at once."""

    def refused(self, request: EmbeddingRequest) -> Refusal | None:
        if request.path != "/embed":
            return Refusal(404, "not found")
        if len(request.texts) > self.most_texts:
            return Refusal(413, f"batch size {len(request.texts)} > maximum allowed batch size {self.most_texts}")
        return None

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps({"error": refusal.message, "error_type": "Validation"})


class HuggingFaceEmbeddings(EmbeddingServer):
    """The task feature-extraction of the Inference API; wants the key `hf_secret`."""

    def refused(self, request: EmbeddingRequest) -> Refusal | None:
        if request.headers.get("authorization") != "Bearer hf_secret":
            return Refusal(401, "Invalid credentials in Authorization header")
        if not request.path.startswith("/models/") or not request.path.endswith("/pipeline/feature-extraction"):
            return Refusal(404, "Not Found")
        return None
