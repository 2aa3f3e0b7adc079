"""The models of a pipeline: which one it embeds by, how it comes to another one, and what judges its passages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.rag_pb2 import ListPipelinesRequest, QueryRequest
from astromesh.v1.rag_pb2_grpc import RagServiceStub
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.errors import AstromeshError, InvalidInput, NotSupported, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.launcher import compose
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.settings import load_settings
from astromesh_core.user_code.modules import Modules
from astromesh_rag import app, model_checks, upkeep
from astromesh_rag.documents import Listing
from astromesh_rag.given import given_text
from astromesh_rag.pipelines import Declared, Pipelines
from astromesh_testing.models import cross_encoder
from astromesh_testing.models.cohere import KEY, CohereServer
from astromesh_testing.models.embeddings import OllamaEmbeddings, TextEmbeddingsServer
from astromesh_testing.models.replies import Refusal
from astromesh_testing.nats import NatsServer
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.opening import Stores
from astromesh_vectors.remote import server
from astromesh_vectors.rerankers.opening import Rerankers

DOCUMENTS = {
    "owls.txt": "owls hunt mice at night",
    "storks.txt": "storks build nests",
    "rhine.txt": "the rhine is long",
    "invoice.txt": "an invoice is due in may",
}
SHOUT = """
class Longest:
    def __init__(self, *, model, endpoint, api_key):
        pass

    async def scores(self, query, texts):
        return [float(len(text)) for text in texts]
"""


@pytest.fixture(autouse=True)
def without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)


@dataclass
class Mesh:
    """The pipelines of a data folder."""

    pipelines: Pipelines

    async def declare(self, spec: Mapping[str, object]) -> Declared:
        """Declares the pipeline `docs` and opens it."""
        parsed = RAGPipelineSpec.model_validate_json(orjson.dumps(spec))
        ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs", sha256=parsed.to_json().encode())
        record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=parsed.to_json())
        declared = self.pipelines.put(record)
        assert declared is not None
        await self.pipelines.open(declared)
        return declared


@asynccontextmanager
async def mesh(folder: Path, environ: Mapping[str, str] | None = None) -> AsyncGenerator[Mesh]:
    environ = environ or {"COHERE_API_KEY": KEY}
    modules = [Modules(folder / "config" / name) for name in ("embedders", "stores", "rerankers")]
    embedders = Embedders(folder, modules[0], environ)
    rerankers = Rerankers(folder / "models", modules[2], environ)
    stores = Stores(folder, modules[1], environ)
    pipelines = Pipelines(folder, MiniLMWords(), embedders.of, stores.open, rerankers.of)
    yield Mesh(pipelines)
    await pipelines.close()
    await embedders.close()
    await rerankers.close()
    for each in modules:
        each.close()


async def take_in(declared: Declared, documents: Mapping[str, str] = DOCUMENTS) -> None:
    assert declared.pipeline is not None
    await declared.pipeline.ingest_all(Listing([given_text(source, text) for source, text in documents.items()]))


async def sources(declared: Declared, question: str = "who hunts mice", top_k: int = 4) -> list[str]:
    return [passage.source for passage in await declared.query(question, top_k)]


def on(fake: OllamaEmbeddings, model: str, **fields: object) -> dict[str, object]:
    return {"embeddings": {"provider": "ollama", "model": model, "endpoint": fake.url, **fields}}


async def test_the_old_vectors_answer_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    async with OllamaEmbeddings(dimension=64) as fake, mesh(tmp_path) as here:
        first = await here.declare(on(fake, "first"))
        await take_in(first)
        assert await here.pipelines.succeed(first) == []
        asked = await sources(first)
        assert asked[0] == "owls.txt"

        second = await here.declare(on(fake, "second", dimension=32))
        assert await sources(second) == asked
        assert fake.requests[-1].body["model"] == "first"
        assert second.pipeline is not None
        assert (await second.pipeline.figures()).documents == 0
        await here.pipelines.succeed(second)
        assert sorted(await sources(second)) == sorted(DOCUMENTS)
        assert fake.requests[-1].body["model"] == "second"
        assert first.pipeline is not None
        assert (await first.pipeline.figures()).documents == 0


async def test_a_restart_in_between_loses_nothing(tmp_path: Path) -> None:
    async with OllamaEmbeddings(dimension=64) as fake:
        async with mesh(tmp_path) as here:
            first = await here.declare(on(fake, "first"))
            await take_in(first)
            await here.pipelines.succeed(first)
            await here.declare(on(fake, "second"))
        async with mesh(tmp_path) as here:
            second = await here.declare(on(fake, "second"))
            assert (await sources(second))[0] == "owls.txt"
            assert fake.requests[-1].body["model"] == "first"
            await take_in(second, {"owls.txt": "owls sleep by day"})
            await here.pipelines.succeed(second)
        async with mesh(tmp_path) as here:
            second = await here.declare(on(fake, "second"))
            assert second.predecessor is None
            found = await second.query("owls", 10)
            assert sorted(passage.source for passage in found) == sorted(DOCUMENTS)
            assert "owls sleep by day" in [passage.text.text for passage in found]


async def test_where_another_replica_came_to_the_new_vectors_they_answer(tmp_path: Path) -> None:
    async with OllamaEmbeddings(dimension=64) as fake, mesh(tmp_path) as here:
        first = await here.declare(on(fake, "first"))
        await take_in(first)
        await here.pipelines.succeed(first)
        second = await here.declare(on(fake, "second"))
        assert second.predecessor is not None
        await take_in(second)
        await second.predecessor.empty()
        assert sorted(await sources(second)) == sorted(DOCUMENTS)


async def test_documents_outlive_the_server_of_their_model(tmp_path: Path) -> None:
    async with mesh(tmp_path) as here, OllamaEmbeddings(dimension=64) as fake:
        first = await here.declare(on(fake, "first"))
        await take_in(first)
        await here.pipelines.succeed(first)
    async with mesh(tmp_path) as here, OllamaEmbeddings(dimension=32) as other:
        second = await here.declare(on(other, "second"))
        assert await sources(second) == []
        await here.pipelines.succeed(second)
        assert sorted(await sources(second)) == sorted(DOCUMENTS)


async def test_back_to_the_first_model_before_the_second_is_whole_changes_nothing(tmp_path: Path) -> None:
    async with OllamaEmbeddings(dimension=64) as fake, mesh(tmp_path) as here:
        first = await here.declare(on(fake, "first"))
        await take_in(first)
        await here.pipelines.succeed(first)
        await here.declare(on(fake, "second"))
        again = await here.declare(on(fake, "first"))
        assert again.predecessor is None
        await here.pipelines.succeed(again)
        assert (await sources(again))[0] == "owls.txt"


async def test_what_was_embedded_before_is_not_embedded_again(tmp_path: Path) -> None:
    async with OllamaEmbeddings(dimension=64) as fake:
        for name in ("one", "other"):
            async with mesh(tmp_path) as here:
                declared = await here.declare({**on(fake, "m", dimension=64), "vector_store": {"collection": name}})
                await take_in(declared)
        assert sorted(fake.texts) == sorted(DOCUMENTS.values())
        async with mesh(tmp_path) as here:
            declared = await here.declare({**on(fake, "m", dimension=64), "vector_store": {"collection": "one"}})
            for _ in range(2):
                assert (await sources(declared))[0] == "owls.txt"
        assert fake.texts.count("who hunts mice") == 1


async def test_passages_stand_in_the_rerankers_order_with_its_scores(tmp_path: Path) -> None:
    cross_encoder.write(tmp_path / "models" / "tiny")
    question = "who hunt mice at night ?"
    async with mesh(tmp_path) as here:
        declared = await here.declare(
            {"reranking": {"enabled": True, "model": "tiny"}, "retrieval": {"mode": "hybrid"}}
        )
        await take_in(declared)
        found = await declared.query(question, 4)
        logits = {text: cross_encoder.scored(question, text) for text in DOCUMENTS.values()}
        assert [passage.text.text for passage in found] == sorted(logits, key=lambda text: -logits[text])
        assert all(0 < passage.score < 1 for passage in found)
        assert found == sorted(found, key=lambda passage: -passage.score)


@pytest.mark.parametrize(
    ("reranking", "top_k", "shown"),
    [({}, 0, 3), ({"top_k": 2}, 0, 2), ({"top_k": 2}, 4, 4), ({"top_k": 4}, 1, 1)],
)
async def test_as_many_are_shown_as_declared_or_asked_for(
    tmp_path: Path, reranking: dict[str, object], top_k: int, shown: int
) -> None:
    (tmp_path / "config" / "rerankers").mkdir(parents=True)
    (tmp_path / "config" / "rerankers" / "shout.py").write_text(SHOUT)
    async with mesh(tmp_path) as here:
        spec = {"reranking": {"enabled": True, "provider": "shout:Longest", **reranking}, "retrieval": {"top_k": 3}}
        declared = await here.declare(spec)
        await take_in(declared)
        lengths = [len(passage.text.text) for passage in await declared.query("owls", top_k)]
        assert lengths == sorted(map(len, DOCUMENTS.values()), reverse=True)[:shown]


async def test_a_reranker_that_fails_fails_the_query_and_no_ingestion(tmp_path: Path) -> None:
    async with CohereServer(*[Refusal(500, "oops")] * 4) as fake, mesh(tmp_path) as here:
        reranking = {"enabled": True, "provider": "cohere", "endpoint": fake.url, "api_key": "${COHERE_API_KEY}"}
        declared = await here.declare({"reranking": reranking})
        await take_in(declared)
        with pytest.raises(Unavailable, match=f"cohere at {fake.url}: answered 500"):
            await declared.query("owls", 0)
        assert (await sources(declared, "storks build"))[0] == "storks.txt"
    async with mesh(tmp_path / "other", {"NONE": ""}) as here:
        for reranking, kind in (({"provider": "cohere"}, InvalidInput), ({"model": "not/there"}, NotSupported)):
            declared = await here.declare({"reranking": {"enabled": True, **reranking}})
            await take_in(declared)
            with pytest.raises(kind):
                await declared.query("owls", 0)


async def observed(bus: Bus, text: bytes) -> bytes:
    """What the service tells of the pipeline, once it tells this."""
    async with asyncio.timeout(10):
        while True:
            answer = await bus.nc.ask("$JS.API.DIRECT.GET.OBSERVATIONS.observation.rag.RAGPipeline.default.docs")
            if text in answer.data:
                return answer.data
            await asyncio.sleep(0.05)


async def test_a_wrong_dimension_is_told_and_nothing_is_written(
    nats: NatsServer, bus: Bus, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "START_SECONDS", 0.0)
    monkeypatch.setattr(upkeep, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "SWEEP_SECONDS", 0.2)
    monkeypatch.setattr(model_checks, "EVERY_SECONDS", 0.1)
    credentials = credentials_path(nats.credentials_folder, "rag")
    given: dict[str, object] = {
        "config_dir": config,
        "data_dir": tmp_path / "data",
        "nats_url": nats.url,
        "nats_credentials": credentials,
    }
    ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs")
    source = {"ingestion": {"sources": [{"type": "directory", "path": "knowledge"}]}}

    async def declare(spec: Mapping[str, object]) -> None:
        written = RAGPipelineSpec.model_validate_json(orjson.dumps({**source, **spec})).to_json()
        await bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=written))

    def served_by(server_url: str, **fields: object) -> dict[str, object]:
        return {"embeddings": {"provider": "huggingface", "endpoint": server_url, "model": "m", **fields}}

    async with OllamaEmbeddings() as ollama, TextEmbeddingsServer(dimension=64) as fake:
        await declare({**on(ollama, "missing-m", dimension=64), "reranking": {"enabled": True}})
        async with compose({"rag": app.open_service}, load_settings(given)) as composed:
            stub = RagServiceStub(composed.platform.connections.channel("rag"))
            request = QueryRequest(namespace="default", pipeline="docs", query=text_content("rhine"))
            told = await observed(bus, b"try pulling it first")
            assert b"NotFound" in told
            assert b"RerankerLoaded" in told
            assert b"there is no folder" in told
            await declare(served_by(fake.url, dimension=48))
            told = await observed(bus, b"makes vectors of 64, declared are 48; write 64")
            assert b"WrongSettings" in told
            assert b"RerankerLoaded" not in told
            await declare({**served_by(fake.url), "vector_store": {"dimensions": 48}})
            await observed(bus, b"vector_store.dimensions is 48")
            with pytest.raises(AstromeshError, match="write 64"):
                await stub.Query(request)
            states = await stub.ListPipelines(ListPipelinesRequest(namespace="default"))
            assert [state.documents for state in states.pipelines] == [0]
            fake.script += [Refusal(503, "loading")] * 3
            await declare(served_by(fake.url, dimension=64))
            await observed(bus, b"Ingested")
            assert not fake.script
            assert (await stub.Query(request)).passages[0].source == "rivers.md"
            fake.script += [Refusal(401, "revoked")] * 1_000
            told = await observed(bus, b"answered 401")
            assert b"Denied" in told
            fake.script.clear()
            assert b"Answered" in await observed(bus, b"Answered")
