"""The FAISS store under the contract, and what is its own: the index file, and being killed."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from astromesh_core.errors import Unavailable
from astromesh_testing.contracts.vector_store import EAST, Opener, VectorStoreContract, found, rows, vector, write
from astromesh_vectors.faiss_store.store import SIDECAR_FILE, FaissStore
from astromesh_vectors.ports import VectorStore

KILLED_WRITER = Path(__file__).with_name("endless_writer.py")


class TestFaissStore(VectorStoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        def open_store(*, model: str, dimension: int) -> VectorStore:
            return FaissStore(tmp_path / "collection", model=model, dimension=dimension)

        return open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "collection"


def compass(folder: Path) -> FaissStore:
    return FaissStore(folder, model="compass", dimension=4)


def index_files(folder: Path) -> list[Path]:
    return list(folder.glob("index-*"))


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).lower()


async def filled(folder: Path) -> None:
    store = compass(folder)
    await write(store, "a", "one", "two")
    assert await found(store) == ["one", "two"]
    await store.close()


async def test_close_leaves_one_index_file_of_the_last_content(folder: Path) -> None:
    await filled(folder)
    (first,) = index_files(folder)
    store = compass(folder)
    await found(store)
    await write(store, "b", "three")
    await store.close()
    (second,) = index_files(folder)
    assert first.name != second.name


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty", "of another generation"])
async def test_a_damaged_index_file_is_built_anew(folder: Path, damage: str) -> None:
    await filled(folder)
    (file,) = index_files(folder)
    content = file.read_bytes()
    match damage:
        case "missing":
            file.unlink()
        case "cut":
            file.write_bytes(content[:-10])
        case "flipped":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "empty":
            file.write_bytes(b"")
        case _:
            file.rename(file.with_name(file.name.replace("-1.", "-0.")))
    store = compass(folder)
    assert await found(store) == ["one", "two"]
    await store.close()


async def test_an_index_file_does_not_outlive_its_sidecar(folder: Path) -> None:
    await filled(folder)
    (folder / SIDECAR_FILE).unlink()
    store = compass(folder)
    await write(store, "z", "new")
    assert await found(store) == ["new"]
    await store.close()


async def test_a_writer_killed_at_any_moment_leaves_whole_documents(folder: Path) -> None:
    for round_number in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(KILLED_WRITER), str(folder), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        acknowledged = 0
        for _ in range(3 + round_number):
            acknowledged = int(await process.stdout.readline())
        await asyncio.sleep(0.003 * round_number)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        later = (await process.stdout.read()).split()
        acknowledged = int(later[-1]) if later else acknowledged
        store = compass(folder)
        texts = await found(store, top_k=1000)
        documents = await store.documents()
        assert len(documents) >= acknowledged
        assert len(texts) == 3 * len(documents)
        assert all(texts.count(text) == 3 for text in texts)
        await store.close()


async def test_a_locked_sidecar_is_unavailable_and_then_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astromesh_vectors.faiss_store.sidecar.BUSY_SECONDS", 0.05)
    store = compass(folder)
    assert await store.count() == 0
    other = sqlite3.connect(folder / SIDECAR_FILE)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        await write(store, "a", "one")
    other.close()
    assert await write(store, "a", "one") is True
    assert await found(store) == ["one"]
    await store.close()


async def test_the_given_vectors_are_not_changed(folder: Path) -> None:
    store = compass(folder)
    given = rows([3.0, 4.0, 0.0, 0.0])
    await store.put("a", b"1", [], rows())
    await store.search(given[0], "", 1)
    assert given.tolist() == [[3.0, 4.0, 0.0, 0.0]]
    assert vector(EAST).tolist() == EAST
    await store.close()


async def test_nothing_of_a_removed_document_is_left_in_any_file(folder: Path) -> None:
    store = compass(folder)
    await write(store, "kept", "ordinary words")
    await write(store, "gone", "zanzibarian quicksilver")
    assert await store.remove("gone")
    await store.close()
    left = bytes_of(folder)
    assert b"ordinari" in left, "the words of what is kept are there, by their stems"
    assert b"zanzib" not in left
    assert b"quicksilv" not in left
