"""How vectors are asked for, server by server: the path, the body, and where the vectors stand in the answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, cast
from urllib.parse import quote

Body = dict[str, object]
Rows = list[list[float]]

TEXTS_AT_ONCE: Final = 32
"""What Text Embeddings Inference takes in one request unless told otherwise (`--max-client-batch-size`)."""


class Malformed(ValueError):
    """An answer that is not in the format; the message says what it is instead."""


class EmbeddingFormat(Protocol):
    """One server's wire format. Every format asks the server to cut what is too long for its model."""

    @property
    def path(self) -> str:
        """Where texts are embedded, below the server's address."""
        ...

    def body(self, texts: Sequence[str]) -> Body:
        """The request for the vectors of texts, none of which is empty."""
        ...

    def rows(self, answer: object) -> Rows:
        """The vectors, in the order of the texts. Raises Malformed."""
        ...


class Ollama:
    """`POST /api/embed` (https://docs.ollama.com/api/embed). `dimensions` shortens the vectors of models that can."""

    path = "/api/embed"

    def __init__(self, model: str, dimensions: int | None) -> None:
        self._model = model
        self._dimensions = dimensions

    def body(self, texts: Sequence[str]) -> Body:
        """See EmbeddingFormat."""
        asked: Body = {"model": self._model, "input": list(texts), "truncate": True}
        return asked if self._dimensions is None else {**asked, "dimensions": self._dimensions}

    def rows(self, answer: object) -> Rows:
        """See EmbeddingFormat."""
        if not isinstance(answer, dict) or "embeddings" not in answer:
            raise Malformed("its answer holds no embeddings")
        return table(cast("Body", answer)["embeddings"])


class TextEmbeddingsInference:
    """`POST /embed` (https://huggingface.github.io/text-embeddings-inference). It serves one model, and normalises."""

    path = "/embed"

    def body(self, texts: Sequence[str]) -> Body:
        """See EmbeddingFormat."""
        return {"inputs": list(texts), "truncate": True, "normalize": True}

    def rows(self, answer: object) -> Rows:
        """See EmbeddingFormat."""
        return table(answer)


class InferenceApi(TextEmbeddingsInference):
    """Hugging Face's task feature-extraction, whose fields are those of Text Embeddings Inference
    (https://huggingface.co/docs/inference-providers/tasks/feature-extraction)."""

    def __init__(self, model: str) -> None:
        self.path = f"/models/{quote(model, safe='/')}/pipeline/feature-extraction"


def table(value: object) -> Rows:
    """The value, if it is a list of vectors. Raises Malformed: some models answer a vector a token."""
    if not isinstance(value, list):
        raise Malformed("its answer is no list of vectors")
    for row in cast("list[object]", value):
        numbers = cast("list[object]", row) if isinstance(row, list) else []
        if numbers and isinstance(numbers[0], list):
            raise Malformed("it answers a vector a token: the model makes no vectors of whole texts")
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise Malformed("its answer is no list of vectors")
    return cast("Rows", value)
