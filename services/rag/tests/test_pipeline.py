"""One pipeline on a real store with a fake embedder: ingesting again, finding, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from astromesh.v1.rag_pb2 import IngestSummary
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.resources.rag_pipeline import Chunking, DirectorySource, RAGPipelineSpec, Retrieval
from astromesh_rag.documents import Listing
from astromesh_rag.folders import list_files
from astromesh_rag.given import given_file, given_text
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords

from .made_files import docx, pdf

SOURCE = DirectorySource(type="directory", path="knowledge")
PROCESS = Path(__file__).parent / "ingesting_process.py"


@asynccontextmanager
async def opened(folder: Path, embedder: WordEmbedder | None = None) -> AsyncGenerator[Pipeline]:
    embedder = embedder or WordEmbedder()
    store = FaissStore(folder, model=embedder.name, dimension=embedder.dimension)
    spec = RAGPipelineSpec(chunking=Chunking(chunk_size=120, overlap=20), retrieval=Retrieval(top_k=2))
    models = Models(embedder, MiniLMWords())
    yield Pipeline(ResourceRef(name="docs"), spec, store, models, folder)
    await store.close()
    await models.parser.close()


def counts(summary: IngestSummary) -> tuple[int, int, int, int]:
    return summary.added, summary.replaced, summary.removed, summary.unchanged


async def test_ingesting_again_adds_replaces_and_removes_by_content(config: Path, tmp_path: Path) -> None:
    knowledge = config / "knowledge"
    async with opened(tmp_path / "rag") as pipeline:
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (2, 0, 0, 0)
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (0, 0, 0, 2)
        (knowledge / "rivers.md").write_text("# Rivers\n\nThe Rhine is long.")
        (knowledge / "deep" / "towers.md").unlink()
        (knowledge / "new.md").write_text("A new one about lakes.")
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (1, 1, 1, 0)
        assert await pipeline.query("tower of Basel", 1) != []
        assert {hit.source for hit in await pipeline.query("Rhine tower Basel lakes", 10)} == {"rivers.md", "new.md"}
        figures = await pipeline.figures()
        assert (figures.documents, figures.chunks) == (2, 2)
        assert figures.last_ingested_unix_nano > 0


async def test_other_settings_ingest_every_document_again(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
        pipeline.spec = RAGPipelineSpec(chunking=Chunking(chunk_size=80, overlap=10))
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (0, 2, 0, 0)


async def test_nothing_is_embedded_where_nothing_changed(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
    embedder = WordEmbedder()
    async with opened(tmp_path / "rag", embedder) as pipeline:
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (0, 0, 0, 2)
        assert embedder.embedded == []


async def test_given_documents_replace_their_source_and_leave_files_alone(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
        assert counts(await pipeline.ingest_all(Listing([given_text("rivers.md", "The Wiese is a river.")]))) == (
            1,
            0,
            0,
            0,
        )
        assert counts(await pipeline.ingest_all(Listing([given_text("rivers.md", "The Ergolz too.")]))) == (0, 1, 0, 0)
        assert (await pipeline.figures()).documents == 3
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (0, 0, 0, 2)
        assert (await pipeline.figures()).documents == 3


async def test_a_document_that_cannot_be_read_is_reported_and_the_rest_goes_on(config: Path, tmp_path: Path) -> None:
    knowledge = config / "knowledge"
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
        (knowledge / "deep" / "towers.md").write_bytes(b"\0\1\2")
        (knowledge / "new.md").write_text("Something new.")
        summary = await pipeline.ingest_all(list_files(config, [SOURCE]))
        assert counts(summary) == (1, 0, 0, 1)
        assert list(summary.refused) == ["deep/towers.md: is binary: it holds a zero byte"]
        assert (await pipeline.query("tallest tower", 1))[0].source == "deep/towers.md"


async def test_a_step_comes_before_each_document_and_after_it(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        steps = [step async for step in pipeline.ingest(list_files(config, [SOURCE]))]
        assert [(step.source, step.done, step.total, step.taken is not None) for step in steps] == [
            ("deep/towers.md", 0, 2, False),
            ("deep/towers.md", 1, 2, True),
            ("rivers.md", 1, 2, False),
            ("rivers.md", 2, 2, True),
        ]
        assert sum(step.taken.chunks for step in steps if step.taken) == (await pipeline.figures()).chunks


async def test_a_folder_that_is_gone_fails_the_ingestion_and_takes_nothing_away(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
        (config / "other").mkdir()
        (config / "other" / "note.md").write_text("Storks build nests.")
        (config / "knowledge").rename(config / "aside")
        both = [SOURCE, DirectorySource(type="directory", path="other")]
        with pytest.raises(Unavailable, match=r"^knowledge: there is no such folder$"):
            await pipeline.ingest_all(list_files(config, both))
        assert (await pipeline.figures()).documents == 3
        (config / "knowledge").mkdir()
        with pytest.raises(Unavailable, match=r"none of the 2 documents .* is it mounted\?"):
            await pipeline.ingest_all(list_files(config, both))
        assert (await pipeline.figures()).documents == 3
        meant = DirectorySource(type="directory", path="knowledge", allow_empty=True)
        assert (await pipeline.ingest_all(list_files(config, [meant, both[1]]))).removed == 2


async def test_documents_in_every_format_are_found_with_their_page(config: Path, tmp_path: Path) -> None:
    knowledge = config / "knowledge"
    (knowledge / "owls.pdf").write_bytes(pdf("Owls sleep in barns.", "Owls hunt mice at night."))
    (knowledge / "lakes.docx").write_bytes(docx(("Heading1", "Lakes"), ("", "Lake Constance is deep.")))
    (knowledge / "storks.html").write_text("<nav>Menu</nav><main><h1>Storks</h1><p>Storks build nests.</p></main>")
    (knowledge / "rivers.csv").write_text("name;km\nErgolz;30\n")
    everything = DirectorySource(
        type="directory", path="knowledge", glob=("**/*.md", "*.pdf", "*.docx", "*.htm*", "*.csv")
    )
    async with opened(tmp_path / "rag") as pipeline:
        assert counts(await pipeline.ingest_all(list_files(config, [everything]))) == (6, 0, 0, 0)
        (page,) = await pipeline.query("owls hunt mice at night", 1)
        assert (page.source, page.text.text) == ("owls.pdf", "Owls sleep in barns.\n\nOwls hunt mice at night.")
        assert json.loads(page.metadata_json)["page"] == 1
        (deep,) = await pipeline.query("Lake Constance is deep", 1)
        assert (deep.source, list(deep.headings)) == ("lakes.docx", ["Lakes"])
        (nests,) = await pipeline.query("storks build nests", 1)
        assert (nests.source, nests.text.text) == ("storks.html", "# Storks\n\nStorks build nests.")
        (row,) = await pipeline.query("Ergolz 30", 1)
        assert row.text.text == "name: Ergolz\nkm: 30"
        assert counts(await pipeline.ingest_all(list_files(config, [everything]))) == (0, 0, 0, 6)


async def test_a_file_of_a_request_is_renewed_from_its_text_and_known_again(tmp_path: Path) -> None:
    owls = Listing([given_file("owls.pdf", pdf("Owls sleep.", "Owls hunt mice at night."), metadata={"year": 2026})])
    async with opened(tmp_path / "rag") as pipeline:
        assert counts(await pipeline.ingest_all(owls)) == (1, 0, 0, 0)
        pipeline.spec = RAGPipelineSpec(chunking=Chunking(chunk_size=20, overlap=0))
        assert (await pipeline.renew()).replaced == 1
        (hit,) = await pipeline.query("mice at night", 1)
        assert json.loads(hit.metadata_json) == {"page": 2, "source": "owls.pdf", "year": 2026}
        assert counts(await pipeline.ingest_all(owls)) == (0, 0, 0, 1)


async def test_passages_say_where_they_stand(config: Path, tmp_path: Path) -> None:
    text = (config / "knowledge" / "rivers.md").read_text()
    async with opened(tmp_path / "rag") as pipeline:
        await pipeline.ingest_all(list_files(config, [SOURCE]))
        first, second = await pipeline.query("the Birs is short", 0)
        assert first.source == "rivers.md"
        assert list(first.headings) == ["Rivers", "Small"]
        assert text[first.start : first.end] == first.text.text
        assert "Birs" in first.text.text
        assert 1.0 >= first.score >= second.score
        assert len(await pipeline.query("Basel", 3)) == 3


async def test_a_query_that_cannot_be_answered_says_what_is_wrong(tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        assert await pipeline.query("anything", 0) == []
        for text, top_k, reason in (("  ", 0, "empty"), ("x", -1, "top_k"), ("x", 101, "top_k")):
            with pytest.raises(InvalidInput, match=reason):
                await pipeline.query(text, top_k)


async def test_one_ingestion_runs_at_a_time(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag", WordEmbedder(delay=0.02)) as pipeline:
        first, second = await asyncio.gather(*(pipeline.ingest_all(list_files(config, [SOURCE])) for _ in range(2)))
        assert (counts(first), counts(second)) == ((2, 0, 0, 0), (0, 0, 0, 2))


async def test_an_ingestion_that_is_left_lets_the_next_one_finish(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "rag") as pipeline:
        steps = pipeline.ingest(list_files(config, [SOURCE]))
        for _ in range(3):
            await anext(steps)
        await steps.aclose()
        assert counts(await pipeline.ingest_all(list_files(config, [SOURCE]))) == (1, 0, 0, 1)


async def test_a_killed_ingestion_leaves_whole_documents_and_the_next_one_finishes(tmp_path: Path) -> None:
    knowledge = tmp_path / "config" / "knowledge"
    knowledge.mkdir(parents=True)
    for number in range(30):
        (knowledge / f"{number:02}.md").write_text(f"# Number {number}\n\n" + f"Fact {number} is known. " * 40)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(9):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    async with opened(tmp_path / "rag") as pipeline, opened(tmp_path / "other") as whole:
        before = (await pipeline.figures()).documents
        assert 4 <= before < 30
        listing = list_files(tmp_path / "config", [SOURCE])
        assert counts(await pipeline.ingest_all(listing)) == (30 - before, 0, 0, before)
        await whole.ingest_all(listing)
        assert (await pipeline.figures()).chunks == (await whole.figures()).chunks
        found, expected = await pipeline.query("Fact 7 is known", 5), await whole.query("Fact 7 is known", 5)
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected])
