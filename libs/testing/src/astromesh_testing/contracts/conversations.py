"""The rules that every backend of conversations keeps. An adapter's tests subclass `ConversationsContract` and say how
to open it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import TypeAlias

import pytest

from astromesh.v1.run_events_pb2 import MemoryStored
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from astromesh_core.conversations import (
    FIRST,
    START,
    Advance,
    AgentKey,
    Change,
    ConversationStore,
    Forgotten,
    Place,
    Remembered,
    Summarised,
    Summary,
    Turn,
)
from astromesh_core.events.contents import plain, text_content

Opener: TypeAlias = Callable[[], Awaitable[ConversationStore]]

NAMESPACE = "default"
DESK = AgentKey(NAMESPACE, "desk")
OTHER = AgentKey(NAMESPACE, "other")


def at(place: int) -> bytes:
    """The position of a place, in bytes that sort as the places do."""
    return b"\x01" + place.to_bytes(8, "big")


def remembered(
    place: int, session: str = "s", *, text: str = "", user: str = "", agent: str = "desk", index: int = 5
) -> Remembered:
    """The turn that the run of a place left, of the time `place`."""
    turn = [
        Message(role=ROLE_USER, content=text_content(f"{text}q{place}")),
        Message(role=ROLE_ASSISTANT, content=text_content(f"{text}a{place} naïve 東京 🚀\x00")),
    ]
    stored = MemoryStored(session_key=session, agent=agent, turn=turn)
    name = text_content(f"chat {session}").SerializeToString()
    return Remembered(
        NAMESPACE, agent, session, f"run-{place}", at(place), index, place, user, name, stored.SerializeToString()
    )


def summarised(place: int, through: int, text: str, session: str = "s") -> Summarised:
    """The summary that the run of a place made of the turns up to another one's."""
    content = text_content(text).SerializeToString()
    return Summarised(NAMESPACE, "desk", session, f"run-{place}", at(place), 3, place, f"run-{through}", content)


def forgotten(place: int, session: str = "s", *, user: str = "", agent: str = "desk") -> Forgotten:
    """Everything before the place."""
    return Forgotten(NAMESPACE, agent, session, at(place), user_key=user)


def expired(until: int, session: str = "s") -> Forgotten:
    """Everything up to the time."""
    return Forgotten(NAMESPACE, "desk", session, START, until_unix_nano=until)


async def apply(store: ConversationStore, *changes: Change, upto: int = 0, after: int = 0) -> None:
    """Applies changes of `desk` and, where `upto` says so, moves it on."""
    advances = [Advance(DESK, at(after) if after else START, at(upto))] if upto else []
    await store.apply(changes, advances)


def asked(turns: Sequence[Turn]) -> list[str]:
    """The questions of turns."""
    return [plain(MemoryStored.FromString(turn.stored).turn[0].content) for turn in turns]


async def questions(store: ConversationStore, session: str = "s", most: int = 100) -> list[str]:
    """What the session was asked, oldest first."""
    return asked((await store.last(DESK, session, most)).turns)


async def summary(store: ConversationStore, session: str = "s") -> Summary | None:
    """The session's summary."""
    return (await store.last(DESK, session, 1)).summary


async def everything(store: ConversationStore) -> object:
    """All that can be read of two sessions, one agent and its followers."""
    return (
        [await store.last(DESK, session, 100) for session in "st"],
        [tuple(await store.page(NAMESPACE, session, FIRST, 100)) for session in "st"],
        tuple(await store.sessions(DESK, None, 100)),
        tuple(await store.of_user(NAMESPACE, "ada")),
        dict(await store.followed()),
    )


class ConversationsContract:
    """`opener` is a fixture to give: it opens one and the same backend each time, empty at first, and never a second
    test's."""

    @pytest.fixture
    def opener(self) -> Opener:
        """Opens the backend; what it returns is closed by the suite."""
        raise NotImplementedError

    @pytest.fixture
    async def opened(self, opener: Opener) -> AsyncGenerator[Opener]:
        async with AsyncExitStack() as stores:

            async def open_again() -> ConversationStore:
                store = await opener()
                stores.push_async_callback(store.close)
                return store

            yield open_again

    @pytest.fixture
    async def store(self, opened: Opener) -> ConversationStore:
        """Follows `desk` and `other` from the start of the log."""
        store = await opened()
        await store.follow(DESK, START)
        await store.follow(OTHER, START)
        return store

    def test_it_is_a_conversation_store(self, store: ConversationStore) -> None:
        assert isinstance(store, ConversationStore)

    async def test_the_last_turns_come_oldest_first(self, store: ConversationStore) -> None:
        await apply(store, *(remembered(place) for place in (1, 2, 3, 300)), upto=300)
        assert await questions(store, most=2) == ["q3", "q300"]
        assert await questions(store, "t") == []

    async def test_a_turn_comes_back_as_it_was_given(self, store: ConversationStore) -> None:
        change = remembered(7, user="ada")
        await apply(store, change)
        (turn,) = (await store.last(DESK, "s", 9)).turns
        assert turn == Turn("run-7", 7, "ada", change.stored, Place(at(7), 5))

    async def test_pages_go_on_where_the_last_one_ended(self, store: ConversationStore) -> None:
        await apply(store, *(remembered(place) for place in range(1, 6)), remembered(5, index=9))
        first = await store.page(NAMESPACE, "s", FIRST, 2)
        second = await store.page(NAMESPACE, "s", first[-1].place, 3)
        assert asked([*first, *second]) == ["q1", "q2", "q3", "q4", "q5"]
        assert asked(await store.page(NAMESPACE, "s", second[-1].place, 3)) == ["q5"]

    async def test_what_came_before_a_clear_is_forgotten_and_nothing_else(self, store: ConversationStore) -> None:
        await apply(store, remembered(1), remembered(2, "t"), summarised(2, 1, "sum"), forgotten(3), remembered(4))
        assert await questions(store) == ["q4"]
        assert await summary(store) is None
        assert await questions(store, "t") == ["q2"]

    async def test_what_is_delivered_late_does_not_return_after_a_clear(self, store: ConversationStore) -> None:
        await apply(store, forgotten(3))
        await apply(store, remembered(2), summarised(2, 1, "sum"), remembered(4))
        assert await questions(store) == ["q4"]
        assert await summary(store) is None

    async def test_a_turn_of_no_time_is_remembered_after_a_clear(self, store: ConversationStore) -> None:
        await apply(store, forgotten(1), remembered(2)._replace(time_unix_nano=0))
        assert await questions(store) == ["q2"]

    async def test_what_expired_is_forgotten_up_to_its_time(self, store: ConversationStore) -> None:
        await apply(store, remembered(1), summarised(2, 1, "old"), remembered(3), expired(2), remembered(2))
        assert await questions(store) == ["q3"]
        assert await summary(store) is None

    async def test_a_person_is_forgotten_and_those_beside_them_are_not(self, store: ConversationStore) -> None:
        await apply(store, remembered(1, user="ada"), remembered(2, user="bob"), remembered(3))
        await apply(store, summarised(3, 2, "ada asked"), forgotten(4, user="ada"), remembered(1, user="ada"))
        await apply(store, remembered(5, user="ada"))
        assert await questions(store) == ["q2", "q3", "q5"]
        assert await summary(store) is None

    async def test_sessions_of_a_person_are_found_in_every_agent(self, store: ConversationStore) -> None:
        await apply(store, remembered(1, "t", user="ada"), remembered(2, "s", user="ada"), remembered(3, "u"))
        await apply(store, remembered(4, "v", user="ada", agent="other"), remembered(5, "w", user="bob"))
        found = await store.of_user(NAMESPACE, "ada")
        assert [(session.agent, session.session_key) for session in found] == [
            ("desk", "s"),
            ("desk", "t"),
            ("other", "v"),
        ]
        await apply(store, forgotten(9, "t", user="ada"))
        assert [session.session_key for session in await store.of_user(NAMESPACE, "ada")] == ["s", "v"]
        assert list(await store.of_user(NAMESPACE, "")) == []

    async def test_the_summary_with_the_last_place_counts(self, store: ConversationStore) -> None:
        await apply(store, remembered(1), remembered(2), summarised(4, 2, "newer"), summarised(3, 1, "older"))
        found = await summary(store)
        assert found == Summary("run-2", 4, text_content("newer").SerializeToString())

    async def test_sessions_are_listed_the_last_used_first(self, store: ConversationStore) -> None:
        await apply(store, remembered(1, "s"), remembered(2, "t"), remembered(3, "u"), remembered(4, "s"))
        await apply(store, remembered(9, "x", agent="other"))
        first = await store.sessions(DESK, None, 2)
        assert [(it.session_key, it.turns, it.first_unix_nano, it.last_unix_nano) for it in first] == [
            ("s", 2, 1, 4),
            ("u", 1, 3, 3),
        ]
        assert first[0].session_id == text_content("chat s").SerializeToString()
        rest = await store.sessions(DESK, (first[-1].last_unix_nano, first[-1].session_key), 5)
        assert [it.session_key for it in rest] == ["t"]
        await apply(store, forgotten(3, "t"), forgotten(3, "s"))
        left = await store.sessions(DESK, None, 5)
        assert [(it.session_key, it.turns, it.first_unix_nano) for it in left] == [("s", 1, 4), ("u", 1, 3)]

    async def test_sessions_of_one_time_are_all_listed(self, store: ConversationStore) -> None:
        keys = [f"k{number}" for number in range(7)]
        changes = [remembered(number, key)._replace(time_unix_nano=5) for number, key in enumerate(keys, 1)]
        await apply(store, *changes)
        listed, before = list[str](), None
        while page := await store.sessions(DESK, before, 3):
            listed += [session.session_key for session in page]
            before = (page[-1].last_unix_nano, page[-1].session_key)
        assert listed == keys[::-1]

    async def test_idle_sessions_are_those_not_used_since(self, store: ConversationStore) -> None:
        await apply(store, remembered(1, "s"), remembered(2, "t"), remembered(3, "u"), remembered(4, "s"))
        assert [it.session_key for it in await store.idle(DESK, 3, 9)] == ["t", "u"]
        assert [it.session_key for it in await store.idle(DESK, 3, 1)] == ["t"]

    async def test_a_position_moves_only_where_nothing_is_left_out(self, store: ConversationStore) -> None:
        async def moved(after: bytes, upto: int) -> bytes:
            await store.apply([], [Advance(DESK, after, at(upto))])
            return (await store.followed())[DESK]

        assert await moved(START, 5) == at(5)
        assert await moved(at(3), 7) == at(7)
        assert await moved(at(8), 9) == at(7)
        assert await moved(START, 6) == at(7)
        assert (await store.followed())[OTHER] == START
        assert (await store.last(DESK, "s", 1)).position == at(7)

    async def test_says_who_lacks_something(self, store: ConversationStore) -> None:
        await store.drop(OTHER)
        advances = [Advance(DESK, START, at(5)), Advance(OTHER, START, at(5))]
        assert list(await store.apply([], advances)) == [OTHER]
        assert list(await store.apply([], [Advance(DESK, at(6), at(7))])) == [DESK]
        assert list(await store.apply([], [Advance(DESK, START, at(4))])) == []
        assert (await store.last(OTHER, "s", 1)).position is None

    async def test_an_agent_is_followed_once(self, store: ConversationStore) -> None:
        await apply(store, remembered(1), upto=5)
        await store.follow(DESK, at(9))
        assert (await store.followed())[DESK] == at(5)
        assert await questions(store) == ["q1"]

    async def test_changes_of_an_agent_that_is_not_followed_are_dropped(self, store: ConversationStore) -> None:
        await store.drop(DESK)
        await apply(store, remembered(1), summarised(2, 1, "sum"), forgotten(1), upto=5)
        assert await questions(store) == []
        assert dict(await store.followed()) == {OTHER: START}
        await store.follow(DESK, START)
        await apply(store, remembered(1))
        assert await questions(store) == ["q1"]

    async def test_a_dropped_agent_leaves_nothing_and_others_everything(self, store: ConversationStore) -> None:
        await apply(store, remembered(1, user="ada"), summarised(2, 1, "sum"), forgotten(3, "t"))
        await apply(store, remembered(4, "x", agent="other", user="ada"))
        await store.drop(DESK)
        assert await questions(store) == []
        assert list(await store.sessions(DESK, None, 9)) == []
        assert [it.session_key for it in await store.of_user(NAMESPACE, "ada")] == ["x"]
        await store.follow(DESK, START)
        await apply(store, remembered(2, "t"))
        assert await questions(store, "t") == ["q2"]

    async def test_everything_is_there_after_a_restart(self, opened: Opener) -> None:
        first = await opened()
        await first.follow(DESK, START)
        await apply(first, remembered(1, user="ada"), remembered(2, "t"), summarised(2, 1, "sum"), upto=7)
        before = await everything(first)
        await first.close()
        assert await everything(await opened()) == before

    async def test_any_redelivery_in_any_order_leads_to_the_same(self, opened: Opener) -> None:
        random = Random(7)
        for _ in range(12):
            changes = [_any(place, random) for place in range(1, 13)]
            states = list[object]()
            for order in (changes, random.sample(changes, 12) + random.choices(changes, k=8), changes[::-1] * 2):
                store = await opened()
                await store.follow(DESK, START)
                for cut in range(0, len(order), 5):
                    await apply(store, *order[cut : cut + 5])
                await apply(store, upto=12)
                states.append(await everything(store))
                await store.drop(DESK)
            assert states[0] == states[1] == states[2]

    async def test_many_tasks_at_once_lose_nothing(self, opened: Opener) -> None:
        stores = [await opened(), await opened()]
        await stores[0].follow(DESK, START)
        work = [
            apply(store, *(remembered(place) for place in range(cut, cut + 10)))
            for store in stores
            for cut in range(1, 101, 5)
        ]
        # More at a time than any backend has connections.
        reads = [questions(store) for store in stores for _ in range(100)]
        await asyncio.gather(*work, *reads)
        assert await questions(stores[0], most=1000) == [f"q{place}" for place in range(1, 106)]
        (session,) = await stores[1].sessions(DESK, None, 9)
        assert session.turns == 105


def _any(place: int, random: Random) -> Change:
    session = random.choice("st")
    match random.choice(["turn", "turn", "turn", "clear", "person", "expire", "summary"]):
        case "clear":
            return forgotten(place, session)
        case "person":
            return forgotten(place, session, user="ada")
        case "expire":
            return expired(random.randrange(1, place + 1), session)
        case "summary":
            return summarised(place, random.randrange(1, place + 1), f"sum {place}", session)
        case _:
            return remembered(place, session, user=random.choice(["", "ada", "bob"]))
