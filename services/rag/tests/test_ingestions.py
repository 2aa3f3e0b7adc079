"""Ingestions on a real bus: one at a time in the whole mesh, told by events, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from astromesh.v1.ingestion_events_pb2 import (
    DOCUMENT_OUTCOME_ADDED,
    DOCUMENT_OUTCOME_REFUSED,
    INGESTION_CAUSE_ASKED,
    INGESTION_CAUSE_DECLARED,
    INGESTION_CAUSE_GIVEN,
    IngestionCause,
)
from astromesh.v1.rag_pb2 import IngestResponse, IngestSummary
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus import ingestion_lease
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.ingestion_lease import LeaseLost
from astromesh_core.errors import Cancelled, Conflict, NotFound, Unavailable
from astromesh_core.events.chain import verify_chain
from astromesh_core.events.contents import plain
from astromesh_core.resources.rag_pipeline import Chunking, DirectorySource, RAGPipelineSpec
from astromesh_rag.documents import Listing
from astromesh_rag.folders import list_files
from astromesh_rag.given import given_text
from astromesh_rag.ingestions import Ingestions, Wanted
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_testing.embedding import WordEmbedder
from astromesh_testing.nats import NatsServer
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords

SOURCE = DirectorySource(type="directory", path="knowledge")
PROCESS = Path(__file__).parent / "ingesting_process.py"


@asynccontextmanager
async def opened(folder: Path, delay: float = 0.0) -> AsyncGenerator[Pipeline]:
    embedder = WordEmbedder(delay=delay)
    store = FaissStore(folder, model=embedder.name, dimension=embedder.dimension)
    ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs", sha256=b"1" * 32)
    spec = RAGPipelineSpec(chunking=Chunking(chunk_size=120, overlap=20))
    yield Pipeline(ref, spec, store, Models(embedder, MiniLMWords()), folder)
    await store.close()


def wanted(
    pipeline: Pipeline,
    config: Path,
    cause: IngestionCause.ValueType = INGESTION_CAUSE_ASKED,
    *,
    resumable: bool = False,
    given: int = 0,
) -> Wanted:
    async def gather() -> Listing:
        if given:
            return Listing([given_text(f"{number}", f"Fact {number}. " * 40) for number in range(given)])
        return list_files(config, [SOURCE])

    return Wanted(pipeline, INGESTION_CAUSE_GIVEN if given else cause, gather, resumable=resumable)


async def run(ingestions: Ingestions, what: Wanted) -> IngestSummary:
    return [part async for part in ingestions.run(what)][-1].summary


async def kinds(bus: Bus, ingestion: str) -> list[str]:
    events = await bus.ingestions.events("default", "docs", ingestion)
    assert verify_chain([event.SerializeToString() for event in events]).ok
    return [event.ingestion.WhichOneof("event") or "" for event in events]


async def newest(bus: Bus) -> str:
    return (await bus.ingestions.page("default", "docs", 1))[0].id


@pytest.fixture
def many(config: Path) -> Path:
    """A config folder with thirty documents more."""
    for number in range(30):
        (config / "knowledge" / f"{number:02}.md").write_text(f"# Number {number}\n\n" + f"Fact {number}. " * 60)
    return config


async def test_an_ingestion_tells_what_it_did(bus: Bus, config: Path, tmp_path: Path) -> None:
    (config / "knowledge" / "bad.md").write_bytes(b"\0")
    async with opened(tmp_path / "rag") as pipeline:
        summary = await run(Ingestions(bus.ingestions, "a"), wanted(pipeline, config))
    assert await kinds(bus, summary.ingestion_id) == ["requested", "claimed", "listed", "advanced", "completed"]
    events = [one.ingestion for one in await bus.ingestions.events("default", "docs", summary.ingestion_id)]
    assert events[0].requested.resource_sha256 == b"1" * 32
    assert {(event.pipeline, event.cause) for event in events} == {("docs", INGESTION_CAUSE_ASKED)}
    assert [(change.source, change.outcome) for change in events[3].advanced.changes] == [
        ("bad.md", DOCUMENT_OUTCOME_REFUSED),
        ("deep/towers.md", DOCUMENT_OUTCOME_ADDED),
        ("rivers.md", DOCUMENT_OUTCOME_ADDED),
    ]
    counts = events[-1].counts
    assert (counts.documents_total, counts.documents_done, counts.added, counts.refused) == (3, 3, 2, 1)
    assert list(summary.refused) == ["bad.md: is binary: it holds a zero byte"]


async def test_two_at_once_run_one_after_the_other_in_the_whole_mesh(bus: Bus, many: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag", 0.01) as one, opened(tmp_path / "other", 0.01) as other:
        first = asyncio.create_task(run(Ingestions(bus.ingestions, "a"), wanted(one, many)))
        while await bus.ingestions.leases.holder("default", "docs") is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        parts = [part async for part in Ingestions(bus.ingestions, "b").run(wanted(other, many))]
        summary = await first
        assert parts[0].progress.waits_for == summary.ingestion_id
        events = await bus.ingestions.events("default", "docs", parts[-1].summary.ingestion_id)
        ended = (await bus.ingestions.events("default", "docs", summary.ingestion_id))[-1].time_unix_nano
        assert events[0].time_unix_nano >= ended


async def test_two_at_once_of_one_process_wait_for_each_other(bus: Bus, many: Path, tmp_path: Path) -> None:
    ingestions = Ingestions(bus.ingestions, "a")
    async with opened(tmp_path / "rag", 0.01) as pipeline:
        both = await asyncio.gather(*(run(ingestions, wanted(pipeline, many)) for _ in range(2)))
        assert sorted((summary.added, summary.unchanged) for summary in both) == [(0, 32), (32, 0)]


async def test_whoever_asked_and_leaves_cancels_it(bus: Bus, many: Path, tmp_path: Path) -> None:
    ingestions = Ingestions(bus.ingestions, "a")
    async with opened(tmp_path / "rag", 0.01) as pipeline:
        async with aclosing(ingestions.run(wanted(pipeline, many))) as parts:
            for _ in range(5):
                await anext(parts)
        assert (await kinds(bus, await newest(bus)))[-1] == "cancelled"
        assert await bus.ingestions.leases.holder("default", "docs") is None
        taken = (await pipeline.figures()).documents
        assert 0 < taken < 32
        assert (await run(ingestions, wanted(pipeline, many))).unchanged == taken


async def test_who_leaves_after_the_summary_cancels_nothing(bus: Bus, config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        async with aclosing(Ingestions(bus.ingestions, "a").run(wanted(pipeline, config))) as parts:
            async for part in parts:
                if part.HasField("summary"):
                    break
        assert (await kinds(bus, await newest(bus)))[-1] == "completed"


async def test_a_cancelled_task_cancels_it_too(bus: Bus, many: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag", 0.02) as pipeline:
        task = asyncio.create_task(run(Ingestions(bus.ingestions, "a"), wanted(pipeline, many)))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await kinds(bus, await newest(bus)))[-1] == "cancelled"


async def test_anybody_can_cancel_it_by_its_id(
    bus: Bus, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion_lease, "RENEW_SECONDS", 0.05)
    ingestions = Ingestions(bus.ingestions, "a")
    async with opened(tmp_path / "rag", 0.05) as pipeline:
        parts = ingestions.run(wanted(pipeline, many))
        ingestion = (await anext(parts)).progress.ingestion_id
        await Ingestions(bus.ingestions, "b").cancel("default", "docs", ingestion, "it was a mistake")
        with pytest.raises(Cancelled, match="it was a mistake"):
            async for _ in parts:
                pass
        last = (await bus.ingestions.events("default", "docs", ingestion))[-1].ingestion
        assert last.cancelled.reason == "it was a mistake"
        with pytest.raises(Conflict):
            await ingestions.cancel("default", "docs", ingestion, "again")
        with pytest.raises(NotFound):
            await ingestions.cancel("default", "docs", "00", "again")


async def left_open(bus: Bus, pipeline: Pipeline, config: Path) -> str:
    """An ingestion of declared sources that was left in the middle, as a stopping service does."""
    ingestions = Ingestions(bus.ingestions, "a")
    async with aclosing(ingestions.run(wanted(pipeline, config, INGESTION_CAUSE_DECLARED, resumable=True))) as parts:
        for _ in range(9):
            await anext(parts)
    return await newest(bus)


async def test_what_a_stopped_service_left_is_gone_on_with(bus: Bus, many: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        ingestion = await left_open(bus, pipeline, many)
        taken = (await pipeline.figures()).documents
        later = Ingestions(bus.ingestions, "b")
        assert await later.is_broken("default", "docs")
        summary = await run(later, wanted(pipeline, many))
        assert (summary.ingestion_id, summary.unchanged, summary.added) == (ingestion, taken, 32 - taken)
        assert not await later.is_broken("default", "docs")
        told = await kinds(bus, ingestion)
        assert told.count("claimed") == 2
        assert told[-1] == "completed"
        events = await bus.ingestions.events("default", "docs", ingestion)
        assert sum(len(event.ingestion.advanced.changes) for event in events) == 32


async def test_what_was_left_can_be_cancelled(bus: Bus, many: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        ingestion = await left_open(bus, pipeline, many)
        await Ingestions(bus.ingestions, "b").cancel("default", "docs", ingestion, "not needed")
        assert (await kinds(bus, ingestion))[-1] == "cancelled"
        assert (await run(Ingestions(bus.ingestions, "b"), wanted(pipeline, many))).ingestion_id != ingestion


async def test_a_failure_is_told_and_the_next_ingestion_goes_on(bus: Bus, many: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        put, calls = pipeline.store.put, 0

        async def failing(*given: object) -> bool:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise Unavailable("the store is away")
            return await put(*given)  # pyright: ignore[reportArgumentType] - handed on as it came

        object.__setattr__(pipeline.store, "put", failing)
        with pytest.raises(Unavailable, match="store is away"):
            await run(Ingestions(bus.ingestions, "a"), wanted(pipeline, many))
        failed = await newest(bus)
        last = (await bus.ingestions.events("default", "docs", failed))[-1].ingestion
        assert (last.failed.failure.error_class, plain(last.failed.failure.message)) == (
            "unavailable",
            "the store is away",
        )
        assert last.counts.added == 4
        summary = await run(Ingestions(bus.ingestions, "a"), wanted(pipeline, many))
        assert (summary.unchanged, summary.added) == (4, 28)


async def test_who_loses_the_right_stops_and_tells_nothing_more(
    bus: Bus, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion_lease, "RENEW_SECONDS", 0.05)
    async with opened(tmp_path / "rag", 0.05) as pipeline:
        parts = Ingestions(bus.ingestions, "a").run(wanted(pipeline, many))
        ingestion = (await anext(parts)).progress.ingestion_id
        await bus.nc.ask("$KV.ingesting.lease.default.docs", b"\n\x01x\x12\x01y")
        with pytest.raises(LeaseLost):
            async for _ in parts:
                pass
        assert (await kinds(bus, ingestion))[-1] not in ("failed", "cancelled", "completed")


async def killed(nats: NatsServer, folder: Path, *arguments: str, lines: int) -> None:
    """Runs an ingestion in a process of its own and kills it after so many steps."""
    credentials = credentials_path(nats.credentials_folder, "rag")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROCESS),
        str(folder),
        nats.url,
        str(credentials),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in range(lines):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.communicate()


async def test_after_kill_9_another_process_goes_on_with_what_is_missing(
    nats: NatsServer, bus: Bus, many: Path, tmp_path: Path
) -> None:
    await killed(nats, tmp_path, lines=15)
    ingestion = await newest(bus)
    assert (await kinds(bus, ingestion))[:2] == ["requested", "claimed"]
    async with opened(tmp_path / "rag") as pipeline:
        taken = (await pipeline.figures()).documents
        assert 4 <= taken < 32
        parts: list[IngestResponse] = []
        async for part in Ingestions(bus.ingestions, "b").run(wanted(pipeline, many)):
            parts.append(part)
        # The lease of the killed one runs out first.
        assert parts[0].progress.waits_for == ingestion
        summary = parts[-1].summary
        assert (summary.ingestion_id, summary.unchanged, summary.added) == (ingestion, taken, 32 - taken)
        assert (await kinds(bus, ingestion))[-1] == "completed"


async def test_after_kill_9_documents_of_a_request_have_failed(
    nats: NatsServer, bus: Bus, config: Path, tmp_path: Path
) -> None:
    await killed(nats, tmp_path, "30", lines=9)
    ingestion = await newest(bus)
    async with opened(tmp_path / "rag") as pipeline:
        summary = await run(Ingestions(bus.ingestions, "b"), wanted(pipeline, config))
        assert summary.ingestion_id != ingestion
        last = (await bus.ingestions.events("default", "docs", ingestion))[-1].ingestion
        assert "send them again" in plain(last.failed.failure.message)
