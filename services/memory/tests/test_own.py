"""A backend of one's own is found by its import path, held to the contract, and named where it fails."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.conversations import ConversationStore
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_memory.app import own_classes
from astromesh_memory.opening import Backends
from astromesh_memory.placing import target_of
from astromesh_testing import conversations
from astromesh_testing.contracts.conversations import DESK, ConversationsContract, Opener
from astromesh_testing.waiting import until

from .desks import Desk, questions, recall, serving

OWN = "my_conversations:MyConversations"


class TestExample(ConversationsContract):
    @pytest.fixture
    def opener(self) -> Opener:
        # Whoever opens it again in this process finds what is there: the example keeps nothing elsewhere.
        store = conversations.MyConversations(url="", mesh="mesh")

        async def open_again() -> ConversationStore:
            return store

        return open_again


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder with the example in it, and with classes that are none."""
    made = tmp_path / "conversations"
    made.mkdir()
    shutil.copy(str(conversations.__file__), made / "my_conversations.py")
    (made / "bad_ones.py").write_text(
        "class Nothing:\n    def __init__(self, *, url, mesh): pass\n\n\n"
        "class Raises:\n    def __init__(self, *, url, mesh): raise RuntimeError(f'cannot reach {url}')\n\n\n"
        "from my_conversations import MyConversations\n\n\n"
        "class Wrong(MyConversations):\n    async def last(self, *_): return ['not', 'recalled']\n"
    )
    return made


@pytest.fixture
def opening(folder: Path, tmp_path: Path) -> Generator[Callable[[str], Awaitable[ConversationStore]]]:
    with own_classes(folder) as own:
        backends = Backends(tmp_path / "data", "mesh", own)

        def opened(backend: str) -> Awaitable[ConversationStore]:
            connection = {"url": "mine://user:${TEST_SECRET}@h"}
            memory = ConversationalMemory.model_validate({"backend": backend, "connection": connection})
            return backends.open(target_of(memory))

        yield opened


async def test_an_agent_keeps_its_conversations_in_a_class_of_ones_own(bus: Bus, tmp_path: Path, folder: Path) -> None:
    desk = Desk(bus)
    await desk.declare()
    with own_classes(folder) as own:
        async with serving(bus, tmp_path, own=own) as (stub, kept):
            await desk.turn("one")
            agent = await desk.declare(backend=OWN)
            last = await desk.turn("two")

            async def moved() -> bool:
                lane = await kept.lane_of(DESK, 5)
                return lane is not None and lane.name == OWN and DESK in lane.agents

            await until(moved)
            assert questions(await recall(stub, desk, agent, last)) == ["one", "two"]


async def test_what_is_no_backend_is_named(
    opening: Callable[[str], Awaitable[ConversationStore]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SECRET", "hush-hush")
    with pytest.raises(InvalidInput, match="bad_ones:Nothing: has no followed"):
        await opening("bad_ones:Nothing")
    with pytest.raises(InvalidInput, match="missing:Thing"):
        await opening("missing:Thing")
    with pytest.raises(Unavailable, match="bad_ones:Raises: raised RuntimeError") as raised:
        await opening("bad_ones:Raises")
    assert "hush-hush" not in str(raised.value)


async def test_an_answer_of_another_kind_is_an_error_that_names_the_class(
    opening: Callable[[str], Awaitable[ConversationStore]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SECRET", "hush-hush")
    store = await opening("bad_ones:Wrong")
    with pytest.raises(InvalidInput, match="gave a list where a Recalled belongs"):
        await store.last(DESK, "s", 1)
