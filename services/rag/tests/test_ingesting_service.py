"""Ingestions of a service: listed, cancelled, by schedule, after failures; of files that requests bring."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web as server

import astromesh_rag.upkeep
from astromesh.v1.control_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE, MANAGED_BY_API
from astromesh.v1.ingestion_events_pb2 import (
    INGESTION_CAUSE_ASKED,
    INGESTION_CAUSE_DECLARED,
    INGESTION_CAUSE_GIVEN,
    INGESTION_CAUSE_SCHEDULED,
    IngestionEvent,
    IngestionRequested,
)
from astromesh.v1.rag_pb2 import (
    INGESTION_STATUS_CANCELLED,
    INGESTION_STATUS_COMPLETED,
    INGESTION_STATUS_FAILED,
    INGESTION_STATUS_RUNNING,
    CancelIngestionRequest,
    Document,
    GetIngestionRequest,
    Ingestion,
    IngestRequest,
    ListDocumentsRequest,
    ListIngestionsRequest,
    ListPipelinesRequest,
)
from astromesh_core.bus import ingestion_lease
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import Conflict, InvalidInput, NotFound, Unavailable
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.embedding import WordEmbedder

from .served import SOURCES, Clock, Served, ask, declare, ingest, served, until
from .site import MARKDOWN, Site, site

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

__all__ = ["site"]


async def known(rag: Served) -> list[Ingestion]:
    request = ListIngestionsRequest(namespace="default", pipeline="docs")
    return list((await rag.stub.ListIngestions(request)).ingestions)


async def test_ingestions_are_listed_told_and_cancelled(placement: Placement, bus: Bus, config: Path) -> None:
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        (config / "knowledge" / "bad.md").write_bytes(b"\0")
        await ingest(rag.stub)
        await ingest(rag.stub, ("note", "Owls hunt at night."))
        given, asked, declared = await known(rag)
        assert [one.cause for one in (given, asked, declared)] == [
            INGESTION_CAUSE_GIVEN,
            INGESTION_CAUSE_ASKED,
            INGESTION_CAUSE_DECLARED,
        ]
        assert {one.status for one in (given, asked, declared)} == {INGESTION_STATUS_COMPLETED}
        assert (asked.counts.unchanged, asked.counts.refused, asked.pipeline) == (2, 1, "docs")
        assert asked.ended_unix_nano > asked.requested_unix_nano > declared.ended_unix_nano
        found = await rag.stub.GetIngestion(
            GetIngestionRequest(namespace="default", pipeline="docs", ingestion_id=asked.id)
        )
        assert [(change.source, change.reason) for change in found.changes] == [
            ("bad.md", "is binary: it holds a zero byte")
        ]
        page = await rag.stub.ListIngestions(ListIngestionsRequest(namespace="default", pipeline="docs", page_size=2))
        rest = ListIngestionsRequest(namespace="default", pipeline="docs", page_token=page.next_page_token)
        assert [one.id for one in (await rag.stub.ListIngestions(rest)).ingestions] == [declared.id]
        with pytest.raises(Conflict, match="has ended"):
            await rag.stub.CancelIngestion(
                CancelIngestionRequest(namespace="default", pipeline="docs", ingestion_id=asked.id)
            )
        with pytest.raises(NotFound, match="no ingestion"):
            await rag.stub.GetIngestion(GetIngestionRequest(namespace="default", pipeline="docs", ingestion_id="x"))
        with pytest.raises(NotFound, match="no pipeline"):
            await rag.stub.ListIngestions(ListIngestionsRequest(namespace="other", pipeline="docs"))


async def test_whoever_cancels_by_id_ends_what_another_asked_for(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion_lease, "RENEW_SECONDS", 0.05)
    for number in range(40):
        (config / "knowledge" / f"{number}.md").write_text(f"Fact {number}.")
    await declare(bus, "docs", {"ingestion": {"sources": [{"type": "directory", "path": "knowledge", "glob": "*.md"}]}})
    async with served(placement, bus, config, delay=0.05) as rag:
        await until(lambda: bool(rag.pipelines.of("default")))
        running: list[str] = []
        while not running:
            running = [one.id for one in await known(rag) if one.status == INGESTION_STATUS_RUNNING]
        reply = await rag.stub.CancelIngestion(
            CancelIngestionRequest(namespace="default", pipeline="docs", ingestion_id=running[0], reason="too slow")
        )
        assert (reply.ingestion.status, reply.ingestion.reason) == (INGESTION_STATUS_CANCELLED, "too slow")
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert rag.told.conditions["docs"]["IngestionComplete"].reason == "IngestionCancelled"


async def test_a_folder_that_comes_back_is_taken_in_by_itself(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astromesh_rag.upkeep, "RETRY_SECONDS", 0.1)
    (config / "knowledge").rename(config / "aside")
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert rag.told.conditions["docs"]["IngestionComplete"].message == "knowledge: there is no such folder"
        with pytest.raises(Unavailable, match="no such folder"):
            await ingest(rag.stub)
        (config / "aside").rename(config / "knowledge")
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        assert rag.told.figures["docs"]["documents"] == 2


async def test_a_model_that_goes_away_in_the_middle_is_awaited(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astromesh_rag.upkeep, "RETRY_SECONDS", 0.1)
    embed, calls = WordEmbedder.embed, 0

    async def failing(self: WordEmbedder, texts: Sequence[str]) -> Vectors:
        nonlocal calls
        calls += 1
        if 1 < calls < 4:
            raise Unavailable("the model server is away")
        return await embed(self, texts)

    monkeypatch.setattr(WordEmbedder, "embed", failing)
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert rag.told.conditions["docs"]["IngestionComplete"].message == "the model server is away"
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        ended = [one.status for one in await known(rag)]
        assert ended == [INGESTION_STATUS_COMPLETED, INGESTION_STATUS_FAILED, INGESTION_STATUS_FAILED]
        assert (await known(rag))[0].counts.unchanged == 1


async def test_what_another_replica_broke_off_is_gone_on_with(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astromesh_rag.upkeep, "SWEEP_SECONDS", 0.1)
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        chain = bus.ingestions.begin("default", "docs", "f" * 21, given=False, producer="gone", clock=time.time_ns)
        requested = IngestionEvent(pipeline="docs", cause=INGESTION_CAUSE_ASKED, requested=IngestionRequested())
        await chain.append(requested)
        async with asyncio.timeout(5):
            while (await known(rag))[0].status != INGESTION_STATUS_COMPLETED:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)


async def test_a_schedule_takes_sources_in_when_it_is_due(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astromesh_rag.upkeep, "SWEEP_SECONDS", 0.1)
    ingestion = {"sources": [{"type": "directory", "path": "knowledge"}], "schedule": "0 2 * * *"}
    await declare(bus, "docs", {"ingestion": ingestion})
    clock = Clock(1_795_000_000.0)
    async with served(placement, bus, config, clock) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        due = rag.told.figures["docs"]["next_ingestion_unix_seconds"]
        assert isinstance(due, int)
        assert due % 86_400 == 2 * 3_600
        (state,) = (await rag.stub.ListPipelines(ListPipelinesRequest(namespace="default"))).pipelines
        assert state.next_ingestion_unix_nano == due * 1_000_000_000
        (config / "knowledge" / "new.md").write_text("Storks build nests.")
        clock.now = due + 3 * 86_400 + 5.0
        await until(lambda: rag.told.figures["docs"]["documents"] == 3)
        assert rag.told.figures["docs"]["next_ingestion_unix_seconds"] == due + 4 * 86_400
        await asyncio.sleep(0.3)
        assert [one.cause for one in await known(rag)] == [INGESTION_CAUSE_SCHEDULED, INGESTION_CAUSE_DECLARED]


async def test_two_replicas_keep_an_appointment_once(
    placement: Placement, bus: Bus, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astromesh_rag.upkeep, "SWEEP_SECONDS", 0.1)
    other = tmp_path / "other" / "config"
    shutil.copytree(config, other)
    ingestion = {"sources": [{"type": "directory", "path": "knowledge"}], "schedule": "*/10 * * * *"}
    await declare(bus, "docs", {"ingestion": ingestion})
    clock = Clock(1_795_000_000.0)
    async with served(placement, bus, config, clock) as one, served(placement, bus, other, clock) as two:
        for rag in (one, two):
            await until(lambda rag=rag: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        clock.now += 700
        async with asyncio.timeout(10):
            while not (kept := [seen for seen in await known(one) if seen.cause == INGESTION_CAUSE_SCHEDULED]):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        again = [seen for seen in await known(one) if seen.cause == INGESTION_CAUSE_SCHEDULED]
        assert [seen.id for seen in again] == [kept[0].id]


async def test_sources_that_are_declared_no_more_take_their_documents_along(
    placement: Placement, bus: Bus, config: Path
) -> None:
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.figures.get("docs", {}).get("documents") == 2)
        await ingest(rag.stub, ("note", "Owls hunt at night."))
        await declare(bus, "docs", {"retrieval": {"top_k": 3}})
        await until(lambda: rag.told.figures["docs"]["documents"] == 1)
        assert (await rag.stub.Query(ask("owls"))).passages[0].source == "note"


async def test_a_file_of_a_request_is_read_by_its_media_type(placement: Placement, bus: Bus, config: Path) -> None:
    async with served(placement, bus, config) as rag:
        await declare(bus)
        await until(lambda: bool(rag.pipelines.of("default")))
        request = IngestRequest(namespace="default", pipeline="docs")
        page = b"<title>Owls</title><p>Owls hunt at night."
        request.documents.append(
            Document(source="owls", file=page, media_type="text/html", metadata_json='{"team": "birds"}')
        )
        request.documents.append(Document(source="scan.pdf", file=b"rubbish"))
        parts = [part async for part in rag.stub.Ingest(request)]
        assert parts[-1].summary.added == 1
        (refused,) = parts[-1].summary.refused
        assert refused.startswith("scan.pdf: is a damaged PDF")
        (hit,) = (await rag.stub.Query(ask("owls"))).passages
        assert (list(hit.headings), hit.text.text) == (["Owls"], "# Owls\n\nOwls hunt at night.")
        assert orjson.loads(hit.metadata_json)["team"] == "birds"
        wrong = IngestRequest(namespace="default", pipeline="docs")
        wrong.documents.append(Document(source="a", file=b"x", media_type="image/png"))
        with pytest.raises(InvalidInput, match="which nobody reads"):
            async for _ in rag.stub.Ingest(wrong):
                pass


async def test_a_pipeline_from_the_api_cannot_lead_inside_the_network(
    placement: Placement, bus: Bus, config: Path
) -> None:
    inside: dict[str, object] = {"type": "url", "urls": ["http://127.0.0.1:1/"], "allow_private": True}
    await declare(bus, "docs", {"ingestion": {"sources": [inside]}}, managed_by=MANAGED_BY_API)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert "only a pipeline in a file" in rag.told.conditions["docs"]["IngestionComplete"].message


async def test_documents_are_listed_and_those_of_requests_removed(placement: Placement, bus: Bus, config: Path) -> None:
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.figures.get("docs", {}).get("documents") == 2)
        await ingest(rag.stub, ("owls", "Owls hunt at night."), ("storks", "Storks build nests."))

        async def held(size: int = 0, token: str = "") -> tuple[list[str], str]:
            request = ListDocumentsRequest(namespace="default", pipeline="docs", page_size=size, page_token=token)
            page = await rag.stub.ListDocuments(request)
            return [one.source for one in page.documents], page.next_page_token

        first, token = await held(3)
        assert first == ["knowledge/deep/towers.md", "knowledge/rivers.md", "owls"]
        assert await held(3, token) == (["storks"], "")
        removal = IngestRequest(namespace="default", pipeline="docs", removed=["owls", "rivers.md"])
        summary = [part async for part in rag.stub.Ingest(removal)][-1].summary
        assert (summary.removed, list(summary.refused)) == (1, ["rivers.md: is not there"])
        assert (await held())[0] == ["knowledge/deep/towers.md", "knowledge/rivers.md", "storks"]
        assert rag.told.figures["docs"]["documents"] == 3
        both = IngestRequest(namespace="default", pipeline="docs", removed=["a"], documents=[Document(source="a")])
        with pytest.raises(InvalidInput, match="given and removed"):
            async for _ in rag.stub.Ingest(both):
                pass


async def test_declared_pages_are_taken_in_by_themselves(
    placement: Placement, bus: Bus, config: Path, site: Site
) -> None:
    page = site.page("/faq/", b"<title>Owls</title><p>Owls hunt at night.", headers={"Content-Type": "text/html"})
    sources: list[dict[str, object]] = [
        {"type": "url", "urls": [page, f"{site.url}/none"], "allow_private": True},
        {"type": "url", "urls": [f"{site.url}/inside"]},
    ]
    await declare(bus, "docs", {"ingestion": {"sources": sources}})
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        (hit,) = (await rag.stub.Query(ask("owls"))).passages
        assert (hit.source, list(hit.headings)) == (page, ["Owls"])
        told = rag.told.conditions["docs"]["IngestionComplete"]
        assert told.reason == "DocumentsRefused"
        assert "/none: is gone: its server answers 404" in told.message
        assert "is an address inside the network" in told.message


async def test_a_site_that_does_not_answer_holds_up_its_own_pipeline_alone(
    placement: Placement, bus: Bus, config: Path, site: Site
) -> None:
    answers = asyncio.Event()

    async def late(_: server.Request) -> server.Response:
        await answers.wait()
        return server.Response(text="# Late", headers=MARKDOWN)

    site.pages["/slow"] = late
    slow: dict[str, object] = {"type": "url", "urls": [f"{site.url}/slow"], "allow_private": True}
    await declare(bus, "slow", {"ingestion": {"sources": [slow]}})
    async with served(placement, bus, config) as rag:
        await until(lambda: "/slow" in site.asked)
        await declare(bus, "docs", SOURCES)
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        assert rag.told.status("slow", "IngestionComplete") != CONDITION_STATUS_TRUE
        answers.set()
        await until(lambda: rag.told.status("slow", "IngestionComplete") == CONDITION_STATUS_TRUE)
