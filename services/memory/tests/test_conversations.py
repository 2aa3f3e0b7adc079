"""The table is a function of the log: whatever is delivered again, in whatever order, it comes out the same."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh.v1.run_events_pb2 import MemoryStored
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from astromesh_core.bus.positions import Position
from astromesh_core.events.contents import plain, text_content
from astromesh_memory.changes import Change, Forgotten, Remembered
from astromesh_memory.conversations import Conversations, Place

NAMESPACE = "default"
START = Place(b"", -1)


def remembered(place: int, session: str = "s", text: str = "") -> Remembered:
    turn = [
        Message(role=ROLE_USER, content=text_content(f"{text}q{place}")),
        Message(role=ROLE_ASSISTANT, content=text_content(f"{text}a{place}")),
    ]
    stored = MemoryStored(session_key=session, agent="desk", turn=turn).SerializeToString()
    return Remembered(NAMESPACE, session, "desk", f"run-{place}", 5, place, Position(place).encode(), stored)


def forgotten(place: int, session: str = "s") -> Forgotten:
    return Forgotten(NAMESPACE, session, Position(place).encode())


def questions(conversations: Conversations, session: str = "s", most: int = 100) -> list[str]:
    return [plain(turn.stored.turn[0].content) for turn in conversations.last(NAMESPACE, session, most)]


@pytest.fixture
def conversations(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path / "memory" / "conversations.sqlite")


def test_the_last_turns_come_oldest_first(conversations: Conversations) -> None:
    conversations.apply([remembered(place) for place in (1, 2, 3, 300)], Position(300))
    assert questions(conversations, most=2) == ["q3", "q300"]
    assert questions(conversations, "other") == []


def test_what_came_before_a_clear_is_forgotten_and_nothing_else(conversations: Conversations) -> None:
    conversations.apply([remembered(1), remembered(2, "t"), forgotten(3), remembered(4)], Position(4))
    assert questions(conversations) == ["q4"]
    assert questions(conversations, "t") == ["q2"]


def test_a_turn_delivered_late_does_not_return_after_a_clear(conversations: Conversations) -> None:
    conversations.apply([forgotten(3)], Position(3))
    conversations.apply([remembered(2)], Position(3))
    assert questions(conversations) == []


def test_the_position_is_in_the_same_transaction_as_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    conversations = Conversations(path)
    conversations.apply([remembered(1)], Position(1))
    bad = remembered(2)._replace(stored=None)  # pyright: ignore[reportArgumentType] - the database is to refuse it
    with pytest.raises(sqlite3.IntegrityError):
        conversations.apply([remembered(3), bad], Position(3))
    conversations.apply([], Position(1))
    conversations.close()
    again = Conversations(path)
    assert again.position() == Position(1)
    assert questions(again) == ["q1"]


def test_a_file_of_another_version_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    conversations = Conversations(path)
    conversations.apply([remembered(1)], Position(1))
    conversations.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = Conversations(path)
    assert again.position() == Position.START
    assert questions(again) == []


def test_forgotten_text_is_no_longer_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    conversations = Conversations(path)
    conversations.apply([remembered(1, text="very-secret")], Position(1))
    conversations.apply([forgotten(2)], Position(2))
    conversations.close()
    assert b"very-secret" not in path.read_bytes()


def test_pages_go_on_where_the_last_one_ended(conversations: Conversations) -> None:
    conversations.apply([remembered(place) for place in range(1, 6)], Position(5))
    first = conversations.after(NAMESPACE, "s", START, 2)
    second = conversations.after(NAMESPACE, "s", first[-1].place, 10)
    assert [turn.run_id for turn in first + second] == [f"run-{place}" for place in range(1, 6)]


log = st.lists(st.tuples(st.sampled_from(["remember", "forget"]), st.sampled_from("st")), max_size=12)


@settings(max_examples=60, deadline=None)
@given(log, st.data())
def test_any_redelivery_leads_to_the_same_table(kinds: list[tuple[str, str]], data: st.DataObject) -> None:
    changes: list[Change] = [
        remembered(place, session) if kind == "remember" else forgotten(place, session)
        for place, (kind, session) in enumerate(kinds, 1)
    ]
    again = data.draw(st.lists(st.sampled_from(changes), max_size=20)) if changes else []
    shuffled = data.draw(st.permutations(changes))
    end = Position(len(changes))
    with tempfile.TemporaryDirectory() as folder:
        tables: list[list[str]] = []
        for name, batches in (("once", [changes]), ("mixed", [again, shuffled, again])):
            conversations = Conversations(Path(folder) / name)
            for batch in batches:
                conversations.apply(batch, end)
            tables.append(questions(conversations) + questions(conversations, "t"))
            assert conversations.position() == end
            conversations.close()
    assert tables[0] == tables[1]
