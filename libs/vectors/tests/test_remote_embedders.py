"""Embedders on model servers, against fakes on loopback that speak the vendors' formats, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from astromesh_core.errors import (
    AstromeshError,
    Denied,
    InvalidInput,
    NotFound,
    RateLimited,
    TimedOut,
    Unavailable,
)
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_testing.contracts.embedder import Embedder, EmbedderContract
from astromesh_testing.models.embeddings import (
    EmbeddingServer,
    Fault,
    HuggingFaceEmbeddings,
    OllamaEmbeddings,
    TextEmbeddingsServer,
)
from astromesh_testing.models.replies import Drop, Hang, Refusal, Rubbish
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.embedders.served import ServedEmbedder
from astromesh_vectors.remote import opening, server

KINDS: Mapping[str, type[EmbeddingServer]] = {
    "ollama": OllamaEmbeddings,
    "tei": TextEmbeddingsServer,
    "huggingface": HuggingFaceEmbeddings,
}
ENVIRON = {"HF_TOKEN": "hf_secret", "KEY": "s3cret-key"}


@pytest.fixture(autouse=True)
def without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)


def declared(kind: str, url: str, **fields: object) -> EmbeddingsSpec:
    """The spec of a model on the fake server; the Inference API is where the test put it."""
    if kind == "huggingface":
        return EmbeddingsSpec.model_validate({"provider": "huggingface", "model": "own/model", **fields})
    provider = "ollama" if kind == "ollama" else "huggingface"
    return EmbeddingsSpec.model_validate({"provider": provider, "model": "own/model", "endpoint": url, **fields})


@asynccontextmanager
async def opened(spec: EmbeddingsSpec, folder: Path) -> AsyncGenerator[ServedEmbedder]:
    modules = Modules(folder / "embedders")
    embedders = Embedders(folder / "data", modules, ENVIRON)
    try:
        yield await embedders.of(spec)
    finally:
        await embedders.close()
        modules.close()


@asynccontextmanager
async def serving(
    kind: str, folder: Path, patch: pytest.MonkeyPatch, *script: Fault, **fields: object
) -> AsyncGenerator[tuple[EmbeddingServer, ServedEmbedder]]:
    """A fake server and the embedder on it, whose dimension is declared, so that nothing was asked yet."""
    async with KINDS[kind](*script) as fake:
        patch.setattr(opening, "HUGGING_FACE", fake.url)
        async with opened(declared(kind, fake.url, **{"dimension": 16, **fields}), folder) as embedder:
            yield fake, embedder


@pytest.mark.parametrize("kind", KINDS)
class TestContract(EmbedderContract):
    @pytest.fixture
    async def embedder(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Embedder]:
        async with serving(kind, tmp_path, monkeypatch) as (_, embedder):
            yield embedder


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dimension_that_nobody_declared_is_asked_of_the_model_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KINDS[kind](dimension=12) as fake:
        monkeypatch.setattr(opening, "HUGGING_FACE", fake.url)
        modules = Modules(tmp_path)
        embedders = Embedders(tmp_path, modules, ENVIRON)
        first, second = await asyncio.gather(*(embedders.of(declared(kind, fake.url)) for _ in range(2)))
        assert first is second
        assert first.dimension == 12
        assert len(fake.requests) == 1
        await embedders.close()
        modules.close()


async def test_ollama_is_asked_as_its_api_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("ollama", tmp_path, monkeypatch, dimension=8, api_key="${KEY}") as (fake, embedder):
        assert (await embedder.embed(["one", ""])).shape == (2, 8)
        (request,) = fake.requests
        assert request.path == "/api/embed"
        assert request.body == {"model": "own/model", "input": ["one", "."], "truncate": True, "dimensions": 8}
        assert request.headers["authorization"] == "Bearer s3cret-key"
        assert embedder.name == "ollama:own/model"


async def test_text_embeddings_inference_is_asked_as_its_api_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("tei", tmp_path, monkeypatch) as (fake, embedder):
        await embedder.embed(["one"])
        (request,) = fake.requests
        assert (request.path, request.body) == ("/embed", {"inputs": ["one"], "truncate": True, "normalize": True})
        assert "authorization" not in request.headers
        assert embedder.name == "huggingface:own/model"


async def test_the_inference_api_is_asked_as_its_api_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("huggingface", tmp_path, monkeypatch) as (fake, embedder):
        await embedder.embed(["one"])
        (request,) = fake.requests
        assert request.path == "/models/own/model/pipeline/feature-extraction"
        assert request.body["inputs"] == ["one"]
        assert request.headers["authorization"] == "Bearer hf_secret"


async def test_many_texts_go_out_in_batches_and_come_back_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("tei", tmp_path, monkeypatch) as (fake, embedder):
        texts = [f"text number {number}" for number in range(100)]
        vectors = await embedder.embed(texts)
        assert sorted(len(request.texts) for request in fake.requests) == [4, 32, 32, 32]
        for number in (0, 31, 32, 99):
            assert (await embedder.embed([texts[number]]))[0] == pytest.approx(vectors[number], abs=1e-6)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(100), abs=1e-5)


async def test_a_batch_that_is_too_large_for_the_server_is_asked_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("tei", tmp_path, monkeypatch) as (fake, embedder):
        fake.most_texts = 10
        assert len(await embedder.embed([f"text {number}" for number in range(32)])) == 32
        assert [len(request.texts) for request in fake.requests] == [32, 16, 8, 8, 16, 8, 8]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_may_pass_is_tried_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Fault] = [Refusal(503, "loading"), Drop(), Refusal(429, "busy", retry_after="0.01")]
    async with serving(kind, tmp_path, monkeypatch, *faults) as (fake, embedder):
        assert len(await embedder.embed(["one"])) == 1
        assert len(fake.requests) == 4


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (Refusal(401, "invalid token s3cret-key"), Denied, r"answered 401; check \$\{KEY\}$"),
        (Refusal(404, 'model "x" not found, try pulling it first'), NotFound, "try pulling it first"),
        (Refusal(400, "bad s3cret-key input"), InvalidInput, r"answered 400 \(bad \[key\] input\)"),
        (Refusal(302, "", location="http://else"), InvalidInput, "redirects are not followed"),
    ],
)
async def test_what_cannot_pass_is_told_at_once_with_the_server_and_without_the_key(
    fault: Fault, kind: type[AstromeshError], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("ollama", tmp_path, monkeypatch, fault, api_key="${KEY}") as (fake, embedder):
        with pytest.raises(kind, match=told) as raised:
            await embedder.embed(["one"])
        assert raised.value.message.startswith(f"ollama at {fake.url}: ")
        assert "s3cret" not in raised.value.message
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (Refusal(500, "out of memory"), Unavailable, "out of memory"),
        (Refusal(424, "inference failed"), Unavailable, "inference failed"),
        (Drop(), Unavailable, "broke the connection"),
        (Rubbish(), Unavailable, "answered no JSON"),
        (Rubbish(b'{"ok": true}', "application/json"), Unavailable, "check that the endpoint"),
        (Rubbish(b'{"embeddings": [[0.1], [0.2]]}', "application/json"), Unavailable, "2 vectors for 1 texts"),
        (Rubbish(b'{"embeddings": [[[0.1]]]}', "application/json"), Unavailable, "a vector a token"),
    ],
)
async def test_what_does_not_pass_is_told_after_four_attempts_at_most(
    fault: Fault, kind: type[AstromeshError], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("ollama", tmp_path, monkeypatch, *[fault] * 4) as (fake, embedder):
        with pytest.raises(kind, match=told):
            await embedder.embed(["one"])
        assert len(fake.requests) <= 4


async def test_a_server_that_wants_long_patience_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Refusal(503, body=b'{"error": "Model own/model is currently loading", "estimated_time": 90.5}')
    async with serving("huggingface", tmp_path, monkeypatch, loading) as (fake, embedder):
        with pytest.raises(Unavailable, match="currently loading") as raised:
            await embedder.embed(["one"])
        assert raised.value.retry_after == 90.5
        assert len(fake.requests) == 1
    async with serving("tei", tmp_path, monkeypatch, Refusal(429, "full", retry_after="120")) as (_, embedder):
        with pytest.raises(RateLimited) as limited:
            await embedder.embed(["one"])
        assert limited.value.retry_after == 120


async def test_a_server_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.05)
    async with serving("ollama", tmp_path, monkeypatch, *[Hang()] * 4) as (_, embedder):
        with pytest.raises(TimedOut, match=r"no answer within 0.05 s"):
            await embedder.embed(["one"])


async def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    async with OllamaEmbeddings() as fake:
        url = fake.url
    async with opened(declared("ollama", url, dimension=16), tmp_path) as embedder:
        with pytest.raises(Unavailable, match=f"ollama at {url}: cannot be reached"):
            await embedder.embed(["one"])
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with opened(declared("ollama", url), tmp_path):
            pass


async def test_a_caller_who_leaves_stops_the_servers_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("ollama", tmp_path, monkeypatch, Hang(), Hang()) as (fake, embedder):
        asking = asyncio.create_task(embedder.embed([f"text {number}" for number in range(64)]))
        await fake.asked(2)
        asking.cancel()
        await fake.departed(2)
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_one_batch_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("ollama", tmp_path, monkeypatch, Hang(), Refusal(400, "no")) as (fake, embedder):
        with pytest.raises(InvalidInput):
            await embedder.embed([f"text {number}" for number in range(64)])
        await fake.departed(1)


@pytest.mark.parametrize("kind", KINDS)
async def test_vectors_of_another_length_than_declared_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(kind, tmp_path, monkeypatch, dimension=24) as (_, embedder):
        for ask in (embedder.check, lambda: embedder.embed(["one"])):
            with pytest.raises(InvalidInput, match="makes vectors of 16, declared are 24; write 16"):
                await ask()


async def test_at_most_four_requests_are_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("ollama", tmp_path, monkeypatch, *[Hang()] * 8) as (fake, embedder):
        asking = asyncio.create_task(embedder.embed([f"text {number}" for number in range(8 * 32)]))
        await fake.asked(4)
        await asyncio.sleep(0.05)
        assert len(fake.requests) == 4
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_key_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="environment variable GONE is not set"):
        async with opened(declared("ollama", "http://127.0.0.1:1", api_key="${GONE}", dimension=4), tmp_path):
            pass
    modules = Modules(tmp_path)
    embedders = Embedders(tmp_path, modules, {})
    with pytest.raises(InvalidInput, match="set HF_TOKEN, or the endpoint"):
        await embedders.of(EmbeddingsSpec(provider="huggingface", model="m"))
    await embedders.close()
    modules.close()


async def test_an_endpoint_may_be_named_by_a_variable(tmp_path: Path) -> None:
    async with TextEmbeddingsServer() as fake:
        modules = Modules(tmp_path)
        embedders = Embedders(tmp_path, modules, {"WHERE": fake.url})
        embedder = await embedders.of(EmbeddingsSpec(provider="huggingface", model="m", endpoint="${WHERE}"))
        assert embedder.dimension == 16
        assert fake.requests[0].path == "/embed"
        for endpoint, told in (
            ("http://u:p@h", "a user name"),
            ("http://h?key=1", "no query"),
            ("h", "no http address"),
        ):
            wrong = Embedders(tmp_path, modules, {"WHERE": endpoint})
            with pytest.raises(InvalidInput, match=told):
                await wrong.of(EmbeddingsSpec(provider="ollama", model="m", endpoint="${WHERE}"))
            await wrong.close()
        await embedders.close()
        modules.close()


def test_hugging_faces_own_address_is_spoken_to_as_the_inference_api() -> None:
    for url, path in (
        ("https://router.huggingface.co/hf-inference", "/models/own/model/pipeline/feature-extraction"),
        ("https://x.endpoints.huggingface.cloud", "/embed"),
        ("https://nothuggingface.co", "/embed"),
    ):
        spec = EmbeddingsSpec(provider="huggingface", model="own/model", endpoint=url)
        assert opening.format_of(spec, url).path == path
