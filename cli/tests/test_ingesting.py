"""`rag ingest` with files, and looking into ingestions: what they changed, why, and ending them."""

from __future__ import annotations

from pathlib import Path

from .conftest import Terminal

PAGE = "<title>Storks</title><nav>Menu</nav><p>Storks build nests on chimneys.</p>"


def test_files_are_sent_found_and_replaced(terminal: Terminal, tmp_path: Path) -> None:
    page, broken, empty = tmp_path / "storks.html", tmp_path / "scan.pdf", tmp_path / "empty.md"
    page.write_text(PAGE)
    broken.write_bytes(b"rubbish\0")
    empty.touch()
    sent = terminal("rag", "ingest", "docs", str(page), "--metadata", '{"team": "birds"}', "--json").document()
    assert (sent["added"], sent["refused"]) == (1, [])
    found = terminal("rag", "query", "docs", "storks on chimneys", "-k", "1", "--filter", '{"team": "birds"}').out
    assert found.startswith(f"1. {page}")
    assert "Menu" not in found
    again = terminal(
        "rag", "ingest", "docs", str(page), str(broken), str(empty), "--metadata", '{"team": "birds"}', code=1
    )
    assert "1 up to date" in again.err
    assert f"{broken}: is a damaged PDF" in again.err
    listed = terminal("rag", "ingestions", "docs", "--limit", "2").out.splitlines()
    assert listed[0].split() == ["INGESTION", "CAUSE", "STATUS", "REQUESTED", "DOCUMENTS", "CHANGED"]
    assert listed[1].split()[1:3] == ["given", "completed"]
    assert listed[1].endswith("1 added, 1 refused")


def test_what_cannot_be_sent_is_told_before_anything_is(terminal: Terminal, tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(20_000_000)
    assert "has 20000000 bytes" in terminal("rag", "ingest", "docs", str(huge), code=1).err
    assert "No such file" in terminal("rag", "ingest", "docs", str(tmp_path / "none.md"), code=1).err
    assert "there are none" in terminal("rag", "ingest", "docs", "--metadata", "{}", code=2).err
    assert "named twice" in terminal("rag", "ingest", "docs", str(huge), str(huge), code=2).err


def test_an_ingestion_is_shown_with_what_it_changed_and_cancelled_while_it_runs(
    terminal: Terminal, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Owls hunt at night.")
    ingestion = str(terminal("rag", "ingest", "docs", str(note), "--json").document()["ingestion_id"])
    shown = terminal("rag", "ingestion", "docs", ingestion).out
    assert "completed" in shown
    assert "1 added" in shown
    assert "note.txt" in shown
    assert terminal("rag", "ingestion", "docs", ingestion, "--json").document()["changes"] == [
        {"source": note.as_posix(), "outcome": "added", "chunks": 1, "reason": ""}
    ]
    assert "has ended" in terminal("rag", "cancel", "docs", ingestion, code=1).err
    assert "no ingestion" in terminal("rag", "ingestion", "docs", "0123", code=1).err
    assert "no pipeline" in terminal("rag", "ingestions", "nothing", code=1).err
