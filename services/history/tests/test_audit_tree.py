"""The tree by itself, and the places that its heads are told to: what fails or is left behind loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from astromesh.v1.audit_pb2 import TreeHead
from astromesh_core.audit.heads import Signer, anchored_heads
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.chain import ChainHead
from astromesh_core.readiness import Readiness
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_history.app import open_history
from astromesh_history.audit import keeping, places, tree_file
from astromesh_history.audit.places import FilePlace, GitPlace, Place
from astromesh_history.chains import Chain
from astromesh_history.database import Database
from astromesh_testing.commits import new_run

KEY = b"k" * 32


def chain(number: int) -> Chain:
    return Chain(number, new_run(), ChainHead(1, bytes([number]) * 32), None, searchable=False)


@asynccontextmanager
async def tree_in(folder: Path) -> AsyncGenerator[keeping.AuditTree]:
    async with aclosing(await Database.open(folder)), aclosing(await tree_file.open_tree(folder)) as database:
        yield keeping.AuditTree(database, Signer(KEY), lambda: 7)


async def test_what_somebody_waited_for_who_has_left_comes_into_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AT_A_TIME", 1)
    async with tree_in(tmp_path) as tree:
        tree.written([chain(number) for number in range(5)])
        waiting = asyncio.ensure_future(tree.settle())
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        head = await tree.settle()
        assert head is not None
        assert head.size == 5


async def test_a_tree_that_is_written_holds_up_no_read_model(tmp_path: Path) -> None:
    async with aclosing(await Database.open(tmp_path)) as model, tree_in_use(tmp_path) as tree:
        await tree.call(lambda connection: connection.execute("BEGIN IMMEDIATE"))
        await model.call(lambda connection: connection.execute("PRAGMA busy_timeout = 50"))
        await model.call(lambda connection: connection.execute("BEGIN IMMEDIATE"))
        await model.call(lambda connection: connection.execute("INSERT INTO reached VALUES (1, x'00')"))
        await model.call(lambda connection: connection.execute("COMMIT"))
        assert await tree.call(tree_file.behind, 0, 10) == ([], 0)


@asynccontextmanager
async def tree_in_use(folder: Path) -> AsyncGenerator[Database]:
    async with aclosing(await tree_file.open_tree(folder)) as database:
        yield database


async def test_the_tree_goes_on_after_its_file_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_WAITING", 1)
    async with tree_in(tmp_path) as tree:
        failed = asyncio.Event()
        grow = tree_file.grow

        def full(*_: object) -> None:
            loop.call_soon_threadsafe(failed.set)
            raise Unavailable("the disk is full", retry_after=0.01)

        loop = asyncio.get_running_loop()
        running = asyncio.create_task(tree.run())
        await asyncio.sleep(0.1)
        monkeypatch.setattr(tree_file, "grow", full)
        tree.written([chain(1), chain(2)])
        await asyncio.wait_for(failed.wait(), 5)
        monkeypatch.setattr(tree_file, "grow", grow)
        async with asyncio.timeout(5):
            while await tree.database.call(tree_file.size_of) < 2:  # noqa: ASYNC110 - the tree tells nobody
                await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_place_that_failed_is_waited_for_by_nobody_who_exports(tmp_path: Path) -> None:
    class Away:
        name = "away"
        asked = 0

        async def tell(self, head: TreeHead) -> None:
            self.asked += 1
            raise Unavailable("not today")

    away = Away()
    told: list[Place] = [away]
    async with tree_in(tmp_path) as tree:
        tree.configure(60, told)
        for number in range(3):
            tree.written([chain(number)])
            await tree.settle()
        assert away.asked == 1
        await tree.settle(again=True)
        assert away.asked == 2


async def test_a_machine_without_git_is_named_as_the_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    head = TreeHead(tree="t", size=1, root=b"r" * 32, time_unix_nano=1)
    Signer(KEY).sign(head)
    with pytest.raises(Unavailable, match="git cannot be run"):
        await GitPlace(tmp_path, "heads.jsonl", push=False).tell(head)


def test_two_files_of_a_repository_are_two_places(tmp_path: Path) -> None:
    assert GitPlace(tmp_path, "a.jsonl", push=False).name != GitPlace(tmp_path, "b.jsonl", push=False).name


async def test_a_file_of_years_is_not_read_whole_for_one_more_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "heads.jsonl", list[int]()

    def counted(text: bytes) -> list[TreeHead]:
        read.append(len(text))
        return anchored_heads(text)

    monkeypatch.setattr(places, "anchored_heads", counted)
    monkeypatch.setattr(places, "RECENT_BYTES", 2_000)
    for size in range(1, 31):
        head = TreeHead(tree="t", size=size, root=bytes([size]) * 32, time_unix_nano=size)
        Signer(KEY).sign(head)
        for _ in range(2):
            await FilePlace(path).tell(head)
    assert [each.size for each in anchored_heads(path.read_bytes())] == [*range(1, 31)]
    assert max(read) <= 2_000


async def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    head = TreeHead(tree="t", size=1, root=b"r" * 32, time_unix_nano=1)
    Signer(KEY).sign(head)
    path = tmp_path / "notes"
    for held in (b"what nobody wants to lose", b"{" * 5_000, b"one\ntwo\n"):
        path.write_bytes(held)
        with pytest.raises(InvalidInput):
            await FilePlace(path).tell(head)
        assert path.read_bytes() == held


async def test_a_tree_that_grows_no_more_shows_in_readiness(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readiness, ended = Readiness(), asyncio.Event()

    async def ends(_tree: keeping.AuditTree) -> None:
        ended.set()

    monkeypatch.setattr(keeping.AuditTree, "run", ends)
    async with open_history(tmp_path, bus, Telemetry(), readiness, KEY):
        await ended.wait()
        await asyncio.sleep(0)
        health = (await readiness.report()).checks["audit"]
    assert not health.ok
    assert "audit tree" in health.reason


async def test_a_file_told_by_another_tree_is_never_written_over(tmp_path: Path) -> None:
    place, path = FilePlace(tmp_path / "heads.jsonl"), tmp_path / "heads.jsonl"
    ours, theirs = (TreeHead(tree="t", size=5, root=root * 32, time_unix_nano=1) for root in (b"a", b"b"))
    for head in (ours, theirs):
        Signer(KEY).sign(head)
    await place.tell(ours)
    path.write_bytes(path.read_bytes() + b'{"cut off by a cra')
    await place.tell(ours)
    larger = TreeHead(tree="t", size=6, root=b"c" * 32, time_unix_nano=2)
    Signer(KEY).sign(larger)
    await place.tell(larger)
    assert anchored_heads(path.read_bytes()) == [ours, larger]
    with pytest.raises(InvalidInput, match="another head of 5 leaves"):
        await place.tell(theirs)
