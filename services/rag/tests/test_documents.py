"""Which files a declared folder holds, and which of them are texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource
from astromesh_rag.documents import Vanished
from astromesh_rag.folders import list_files, most_bytes, read_file
from astromesh_rag.given import given_file, given_text, read_metadata
from astromesh_rag.parsing import Raw
from astromesh_rag.readers.text import Unreadable


def source(path: str = "knowledge", glob: str = "**/*.md") -> DirectorySource:
    return DirectorySource(type="directory", path=path, glob=(glob,))


async def test_files_are_named_by_their_path_in_the_folder(config: Path) -> None:
    listing = list_files(config, [source()])
    assert [document.source for document in listing.documents] == ["deep/towers.md", "rivers.md"]
    assert [document.id for document in listing.documents] == [
        "file:knowledge/deep/towers.md",
        "file:knowledge/rivers.md",
    ]
    assert (await listing.documents[1].load({})).raw == Raw(
        "markdown", (config / "knowledge" / "rivers.md").read_bytes()
    )


def test_a_file_that_two_sources_name_stands_once(config: Path) -> None:
    assert len(list_files(config, [source(), source(glob="*.md")]).documents) == 2


def test_a_link_out_of_the_folder_is_not_followed(config: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "hidden.md").write_text("hidden")
    (config / "knowledge" / "link.md").symlink_to(tmp_path / "secret.md")
    (config / "knowledge" / "folder").symlink_to(tmp_path / "outside")
    for glob in ("**/*.md", "*/*.md", "*.md"):
        listing = list_files(config, [source(glob=glob)])
        assert not {"link.md", "folder/hidden.md"} & {document.source for document in listing.documents}
    assert "link.md: is a link out of its folder" in listing.refused


def test_a_glob_cannot_climb_out_of_the_folder(config: Path) -> None:
    (config / "secret.md").write_text("secret")
    assert list_files(config, [source(glob="../*.md")]).documents == []
    with pytest.raises(InvalidInput, match="glob"):
        list_files(config, [source(glob="/etc/*")])


def test_a_pipeline_from_the_api_reads_only_the_config_folder(config: Path) -> None:
    assert list_files(config, [source()], confined=True).documents
    for outside in ("..", "/etc"):
        with pytest.raises(InvalidInput, match="outside the config folder"):
            list_files(config, [source(outside)], confined=True)


def test_a_missing_folder_fails_and_takes_nothing_away(config: Path) -> None:
    listing = list_files(config, [source("gone"), source()])
    assert listing.failures == ["gone: there is no such folder"]
    stored = ["file:gone/a.md", "file:knowledge/b.md", "file:knowledge/rivers.md", "page:http://x/", "given:note"]
    assert listing.vanished(stored) == Vanished(["file:knowledge/b.md", "page:http://x/"])


def test_an_empty_folder_that_held_documents_is_doubted(config: Path) -> None:
    (config / "empty").mkdir()
    stored = ["file:empty/a.md", "file:knowledge/rivers.md"]
    vanished = list_files(config, [source("empty"), source()]).vanished(stored)
    assert vanished.removed == []
    assert len(vanished.failures) == 1
    assert "empty: holds none of the 1 documents" in vanished.failures[0]
    assert list_files(config, [source("empty"), source()]).vanished(stored[1:]) == Vanished()
    # Another glob of the same folder finds something: it is there.
    two = [source(glob="*.pdf"), source(), source(glob="*.txt")]
    assert list_files(config, two).vanished(["file:knowledge/a.pdf"]) == Vanished(["file:knowledge/a.pdf"])
    inner = [source("knowledge/deep", glob="*.pdf"), source()]
    assert list_files(config, inner).vanished(["file:knowledge/deep/towers.md"]) == Vanished()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_fails_and_takes_nothing_away(config: Path) -> None:
    (config / "knowledge" / "deep").chmod(0)
    listing = list_files(config, [source()])
    (config / "knowledge" / "deep").chmod(0o700)
    assert listing.failures == ["knowledge/deep: cannot be listed: Permission denied"]
    assert listing.vanished(["file:knowledge/deep/towers.md"]) == Vanished()


def test_files_of_several_globs_stand_once(config: Path) -> None:
    (config / "knowledge" / "notes.txt").write_text("x")
    both = DirectorySource(type="directory", path="knowledge", glob=("**/*.md", "*.txt", "rivers.*"))
    assert [one.source for one in list_files(config, [both]).documents] == ["deep/towers.md", "notes.txt", "rivers.md"]


def test_what_is_no_file_of_a_bearable_size_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(Unreadable, match="no regular file"):
        read_file(tmp_path / "pipe.md")
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        read_file(tmp_path / "gone.md")
    with open(tmp_path / "huge.csv", "wb") as huge:
        huge.truncate(1 << 30)
    with pytest.raises(Unreadable, match="has 1073741824 bytes; a document may have"):
        read_file(tmp_path / "huge.csv")
    assert most_bytes("a.pdf") > most_bytes("a.csv")


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, look, writes = tmp_path / "file.md", os.fstat, 0

    def look_and_write(descriptor: int) -> os.stat_result:
        """Somebody appends to the file right after each look at it."""
        nonlocal writes
        found = look(descriptor)
        if writes > 0:
            writes -= 1
            with path.open("a") as file:
                file.write("y")
        return found

    path.write_text("x")
    monkeypatch.setattr(os, "fstat", look_and_write)
    writes = 1
    assert read_file(path) == b"xy"
    writes = 100
    with pytest.raises(Unreadable, match="changes while it is read"):
        read_file(path)


async def test_a_file_that_became_a_link_since_it_was_listed_is_refused(config: Path, tmp_path: Path) -> None:
    (listed,) = list_files(config, [source(glob="*.md")]).documents
    (tmp_path / "secret.md").write_text("secret")
    (config / "knowledge" / "rivers.md").unlink()
    (config / "knowledge" / "rivers.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(Unreadable, match="link out of its folder"):
        await listed.load({})


async def test_a_given_document_needs_a_source_and_a_format() -> None:
    with pytest.raises(InvalidInput, match="no source"):
        given_text(" ", "text")
    with pytest.raises(InvalidInput, match="which nobody reads"):
        given_file("a", b"x", "image/png")
    assert (await given_text("Guide.MD", "x").load({})).raw.format == "markdown"
    assert (await given_text("report.pdf", "x").load({})).raw.format == "text"
    assert (await given_file("report", b"x", "text/html; charset=utf-8").load({})).raw.format == "html"


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": null}', '{"$a": 1}', '{"source": "x"}'])
def test_metadata_that_no_store_keeps_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_metadata(text)
    assert read_metadata("") == {}
