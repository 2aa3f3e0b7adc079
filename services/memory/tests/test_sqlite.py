"""SQLite keeps the rules of every backend, and some of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from astromesh_core.conversations import START, Advance
from astromesh_core.errors import Unavailable
from astromesh_memory.backends.sqlite import SqliteConversations
from astromesh_testing.contracts.conversations import (
    DESK,
    ConversationsContract,
    Opener,
    apply,
    at,
    forgotten,
    questions,
    remembered,
)


class TestSqlite(ConversationsContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return lambda: SqliteConversations.open(tmp_path / "memory" / "conversations.sqlite")


async def test_the_position_is_in_the_same_transaction_as_its_rows(tmp_path: Path) -> None:
    store = await SqliteConversations.open(tmp_path / "c.sqlite")
    await store.follow(DESK, START)
    await apply(store, remembered(1), upto=1)
    bad = remembered(2)._replace(stored=None)  # pyright: ignore[reportArgumentType] - the database is to refuse it
    with pytest.raises(Unavailable, match="NOT NULL"):
        await store.apply([remembered(3), bad], [Advance(DESK, at(1), at(3))])
    await store.close()
    again = await SqliteConversations.open(tmp_path / "c.sqlite")
    assert (await again.followed())[DESK] == at(1)
    assert await questions(again) == ["q1"]
    await again.close()


async def test_a_file_of_another_version_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    store = await SqliteConversations.open(path)
    await store.follow(DESK, START)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = await SqliteConversations.open(path)
    assert await again.followed() == {}
    await again.close()


async def test_forgotten_text_is_no_longer_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    store = await SqliteConversations.open(path)
    await store.follow(DESK, START)
    await apply(store, remembered(1, text="very-secret"))
    await apply(store, forgotten(2))
    await store.close()
    assert b"very-secret" not in path.read_bytes()
