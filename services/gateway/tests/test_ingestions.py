"""Ingestions and files for pipelines: over HTTP and gRPC, in the caller's namespace and by the caller's role."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from astromesh.v1.rag_pb2 import (
    CancelIngestionRequest,
    Document,
    GetIngestionRequest,
    IngestRequest,
    ListDocumentsRequest,
    ListIngestionsRequest,
    ListPipelinesRequest,
    QueryRequest,
)
from astromesh.v1.rag_pb2_grpc import RagServiceStub, add_RagServiceServicer_to_server
from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.events.contents import text_content
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_gateway.bodies import MAX_BODY_BYTES, MAX_QUESTION_BYTES
from astromesh_gateway.rag.service import RagServicer
from astromesh_gateway.service import KeyGate

from .conftest import Mesh

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub

PLACE = "/v1/rag/pipelines/docs/ingestions"


async def test_a_pipelines_ingestions_are_listed_looked_into_and_cancelled(mesh: Mesh) -> None:
    page = (await mesh.client.get(PLACE, params={"page_size": 5, "page_token": "09"})).json()
    assert page["next_page_token"] == "next"
    (ingestion,) = page["ingestions"]
    assert (ingestion["id"], ingestion["status"], ingestion["cause"], ingestion["ended_at"]) == (
        "01",
        "running",
        "scheduled",
        None,
    )
    (listed,) = mesh.services.rag.listed
    assert (listed.namespace, listed.pipeline, listed.page_size, listed.page_token) == ("default", "docs", 5, "09")
    found = (await mesh.client.get(f"{PLACE}/01")).json()
    assert found["changes"] == [{"source": "a.md", "outcome": "refused", "chunks": 0, "reason": "is binary"}]
    assert (await mesh.client.get(f"{PLACE}/02")).status_code == 404
    assert (await mesh.client.get(PLACE, params={"page_size": 101})).status_code == 422
    cancelled = (await mesh.client.post(f"{PLACE}/01/cancel", json={"reason": "wrong"})).json()
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "wrong")
    assert (await mesh.client.post(f"{PLACE}/01/cancel")).status_code == 200


async def test_files_come_in_base64_with_what_filters_see(mesh: Mesh) -> None:
    file = {
        "source": "a.pdf",
        "data": base64.b64encode(b"%PDF\0").decode(),
        "media_type": "application/pdf",
        "metadata": {"team": "birds", "year": 2026},
    }
    body = {"pipeline": "docs", "documents": [file, {"source": "b.md", "text": "b"}]}
    assert (await mesh.client.post("/v1/rag/ingest", json=body)).json()["added"] == 2
    sent, text = mesh.services.rag.ingested[0].documents
    assert (sent.file, sent.media_type, sent.metadata_json) == (
        b"%PDF\0",
        "application/pdf",
        '{"team":"birds","year":2026}',
    )
    assert (text.text.text, text.file) == ("b", b"")


async def test_documents_are_listed_and_removed(mesh: Mesh) -> None:
    listed = await mesh.client.get("/v1/rag/pipelines/docs/documents", params={"page_size": 7, "page_token": "x"})
    assert listed.json() == {"documents": [{"source": "docs 7", "origin": "given"}], "next_page_token": "x"}
    await mesh.client.post("/v1/rag/ingest", json={"pipeline": "docs", "removed": ["a.md"]})
    assert list(mesh.services.rag.ingested[0].removed) == ["a.md"]


@pytest.mark.parametrize(
    ("document", "status", "reason"),
    [
        ({"source": "a", "data": "%%"}, 400, "documents[0].data is not base64"),
        ({"source": "a", "data": "eA==", "text": "x"}, 422, "either a text or a file"),
        ({"source": "a", "text": "x", "media_type": "text/html"}, 422, "no file of it"),
        ({"source": "a", "text": "x", "metadata": {"a": [1]}}, 422, "metadata"),
        ({"source": "", "text": "x"}, 422, "source"),
        ({"source": "a", "text": "x" * MAX_BODY_BYTES}, 413, "beside its files"),
        ({"source": "a", "data": "A" * MAX_QUESTION_BYTES}, 413, "at most"),
    ],
)
async def test_documents_that_cannot_be_are_refused_with_the_reason(
    mesh: Mesh, document: dict[str, object], status: int, reason: str
) -> None:
    refused = await mesh.client.post("/v1/rag/ingest", json={"pipeline": "docs", "documents": [document]})
    assert refused.status_code == status
    assert reason in refused.text
    assert mesh.services.rag.ingested == []


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_an_ingestion_ends_when_whoever_asked_leaves(mesh: Mesh, accept: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await mesh.client.post("/v1/rag/ingest", json={"pipeline": "slow"}, headers={"Accept": accept})
    async with asyncio.timeout(5):
        await mesh.services.rag.left.wait()


@asynccontextmanager
async def over_grpc(mesh: Mesh) -> AsyncGenerator[RagServiceAsyncStub]:
    servicer = RagServicer(mesh.gateway)

    def register(server: RpcServer) -> None:
        add_RagServiceServicer_to_server(servicer, server)

    gate, telemetry = KeyGate(mesh.gateway.authenticator), mesh.platform.telemetry
    async with (
        serve([register], "127.0.0.1:0", gate, telemetry, drain_seconds=0) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield RagServiceStub(channel)


async def test_grpc_callers_do_the_same_in_their_own_namespace(mesh: Mesh) -> None:
    async with over_grpc(mesh) as stub:
        assert [one.name for one in (await stub.ListPipelines(ListPipelinesRequest())).pipelines] == ["docs"]
        assert (await stub.Query(QueryRequest(pipeline="docs"))).passages[0].source == "a.md"
        asked = IngestRequest(namespace="theirs", pipeline="docs", documents=[Document(source="a.md")])
        parts = [part async for part in stub.Ingest(asked)]
        assert parts[-1].summary.added == 1
        assert mesh.services.rag.ingested[0].namespace == "default"
        listed = await stub.ListIngestions(ListIngestionsRequest(namespace="theirs", pipeline="docs"))
        assert listed.ingestions[0].id == "01"
        assert mesh.services.rag.listed[0].namespace == "default"
        held = await stub.ListDocuments(ListDocumentsRequest(pipeline="docs", page_size=7))
        assert held.documents[0].source == "docs 7"
        found = await stub.GetIngestion(GetIngestionRequest(pipeline="docs", ingestion_id="01"))
        assert found.changes[0].source == "a.md"
        ended = await stub.CancelIngestion(CancelIngestionRequest(pipeline="docs", ingestion_id="01", reason="wrong"))
        assert ended.ingestion.reason == "wrong"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetIngestion(GetIngestionRequest(pipeline="docs", ingestion_id="02"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_grpc_callers_refer_to_nothing_that_others_stored(mesh: Mesh) -> None:
    elsewhere = Content(stored=StoredValue(sha256=bytes(32), size_bytes=7))
    async with over_grpc(mesh) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Query(QueryRequest(pipeline="docs", query=elsewhere))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        documents = [Document(source="a", text=text_content("mine")), Document(source="b", text=elsewhere)]
        with pytest.raises(grpc.aio.AioRpcError, match="sent as text"):
            await anext(aiter(stub.Ingest(IngestRequest(pipeline="docs", documents=documents))))
    assert (mesh.services.rag.asked, mesh.services.rag.ingested) == ([], [])
