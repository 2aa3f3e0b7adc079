"""`rag ingest` with files, and looking into ingestions: what they changed, why, and ending them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import orjson
import pytest
from pydantic import JsonValue

from .conftest import Terminal

NOTES = "notes"
PAGE = "<title>Storks</title><nav>Menu</nav><p>Storks build nests on chimneys.</p>"


def declared(name: str, spec: Mapping[str, JsonValue]) -> str:
    document = {"apiVersion": "astromesh/v1", "kind": "RAGPipeline", "metadata": {"name": name}, "spec": spec}
    return orjson.dumps(document).decode()


@pytest.fixture(autouse=True, scope="module")
def notes(terminal: Terminal) -> None:
    """A pipeline that holds what it is sent."""
    terminal("apply", "-f", "-", stdin=declared(NOTES, {}))
    until = time.monotonic() + 20
    while not any(one["name"] == NOTES for one in httpx.get(f"{terminal.url}/v1/rag/pipelines").json()["pipelines"]):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_files_are_sent_found_and_replaced(terminal: Terminal, tmp_path: Path) -> None:
    page, broken, empty = tmp_path / "storks.html", tmp_path / "scan.pdf", tmp_path / "empty.md"
    page.write_text(PAGE)
    broken.write_bytes(b"rubbish\0")
    empty.touch()
    sent = terminal("rag", "ingest", NOTES, str(page), "--metadata", '{"team": "birds"}', "--json").document()
    assert (sent["added"], sent["refused"]) == (1, [])
    found = terminal("rag", "query", NOTES, "storks on chimneys", "-k", "1", "--filter", '{"team": "birds"}').out
    assert found.startswith(f"1. {page}")
    assert "Menu" not in found
    again = terminal(
        "rag", "ingest", NOTES, str(page), str(broken), str(empty), "--metadata", '{"team": "birds"}', code=1
    )
    assert "1 up to date" in again.err
    assert f"{broken}: is a damaged PDF" in again.err
    listed = terminal("rag", "ingestions", NOTES, "--limit", "2").out.splitlines()
    assert listed[0].split() == ["INGESTION", "CAUSE", "STATUS", "REQUESTED", "DOCUMENTS", "CHANGED"]
    assert listed[1].split()[1:3] == ["given", "completed"]
    assert listed[1].endswith("1 added, 1 refused")


def test_what_was_sent_is_listed_and_removed(terminal: Terminal, tmp_path: Path) -> None:
    note = tmp_path / "hedgehogs.md"
    note.write_text("Hedgehogs eat snails.")
    terminal("rag", "ingest", NOTES, str(note))
    held = terminal("rag", "documents", NOTES, "--json").document()["documents"]
    assert {"source": note.as_posix(), "origin": "given"} in held if isinstance(held, list) else False
    assert note.as_posix() in terminal("rag", "documents", NOTES).out
    assert "1 removed" in terminal("rag", "remove", NOTES, note.as_posix()).err
    assert note.as_posix() not in terminal("rag", "documents", NOTES).out
    assert "is not there" in terminal("rag", "remove", NOTES, note.as_posix(), code=1).err


def test_what_cannot_be_sent_is_told_before_anything_is(terminal: Terminal, tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(20_000_000)
    assert "has 20000000 bytes" in terminal("rag", "ingest", NOTES, str(huge), code=1).err
    assert "No such file" in terminal("rag", "ingest", NOTES, str(tmp_path / "none.md"), code=1).err
    assert "there are none" in terminal("rag", "ingest", NOTES, "--metadata", "{}", code=2).err
    assert "named twice" in terminal("rag", "ingest", NOTES, str(huge), str(huge), code=2).err


def test_an_ingestion_is_shown_with_what_it_changed_and_cancelled_while_it_runs(
    terminal: Terminal, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Owls hunt at night.")
    ingestion = str(terminal("rag", "ingest", NOTES, str(note), "--json").document()["ingestion_id"])
    shown = terminal("rag", "ingestion", NOTES, ingestion).out
    assert "completed" in shown
    assert "1 added" in shown
    assert "note.txt" in shown
    assert terminal("rag", "ingestion", NOTES, ingestion, "--json").document()["changes"] == [
        {"source": note.as_posix(), "outcome": "added", "chunks": 1, "reason": ""}
    ]
    assert "has ended" in terminal("rag", "cancel", NOTES, ingestion, code=1).err
    assert "no ingestion" in terminal("rag", "ingestion", NOTES, "0123", code=1).err
    assert "no pipeline" in terminal("rag", "ingestions", "nothing", code=1).err


def test_a_pipeline_is_described_with_what_it_holds_and_when_it_ingests_next(terminal: Terminal) -> None:
    described = " ".join(terminal("describe", "ragpipeline", "docs").out.split())
    assert "next not scheduled" in described
    assert "documents" in described
    source: dict[str, JsonValue] = {"type": "directory", "path": "docs"}
    spec: dict[str, JsonValue] = {"ingestion": {"sources": [source], "schedule": "0 2 29 2 *"}}
    (terminal.folder.path / "docs").mkdir(exist_ok=True)
    (terminal.folder.path / "docs" / "leap.md").write_text("Leap days come every four years.")
    terminal("apply", "-f", "-", stdin=declared("leap", spec))
    assert "next 2028-02-29T02:00:00" in " ".join(terminal("describe", "ragpipeline", "leap").out.split())
    terminal("delete", "ragpipeline", "leap")
