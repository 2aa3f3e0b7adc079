"""Which files a declared folder holds, and which of them are texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource
from astromesh_rag.documents import MOST_BYTES, Unreadable, given, is_markdown, list_files, read_file


def source(path: str = "knowledge", glob: str = "**/*.md") -> DirectorySource:
    return DirectorySource(type="directory", path=path, glob=(glob,))


def test_files_are_named_by_their_path_in_the_folder(config: Path) -> None:
    listing = list_files(config, [source()])
    assert [document.source for document in listing.documents] == ["deep/towers.md", "rivers.md"]
    assert [document.id for document in listing.documents] == [
        "file:knowledge/deep/towers.md",
        "file:knowledge/rivers.md",
    ]
    assert listing.documents[1].read().startswith("# Rivers")


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


def test_a_missing_folder_is_reported_and_takes_nothing_away(config: Path) -> None:
    listing = list_files(config, [source("gone"), source()])
    assert listing.refused == ["gone: there is no such folder"]
    stored = ["file:gone/a.md", "file:knowledge/b.md", "file:knowledge/rivers.md", "given:note"]
    assert listing.vanished(stored) == ["file:knowledge/b.md"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\0b", "zero byte"),
        (b"caf\xe9 au lait", "not UTF-8: byte 3"),
        (b"x" * (MOST_BYTES + 1), "bytes; a document may"),
    ],
    ids=["binary", "latin-1", "too large"],
)
def test_what_is_no_text_of_a_bearable_size_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file.md").write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        read_file(tmp_path / "file.md")


def test_what_is_no_file_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(Unreadable, match="no regular file"):
        read_file(tmp_path / "pipe.md")
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        read_file(tmp_path / "gone.md")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "file.md").write_bytes(b"\xef\xbb\xbfhello")
    assert read_file(tmp_path / "file.md") == "hello"


def test_a_given_document_needs_a_source() -> None:
    with pytest.raises(InvalidInput, match="no source"):
        given(" ", "text")
    assert is_markdown("Guide.MD")
    assert not is_markdown("notes.txt")
