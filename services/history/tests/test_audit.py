"""The signed tree on a real log: what is exported proves itself, heads are told outside, nothing is forgotten."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from astromesh.v1.audit_pb2 import ExportAuditRequest, ListTreeHeadsRequest, ListTreeHeadsResponse, TreeHead
from astromesh.v1.control_pb2 import MANAGED_BY_API, MANAGED_BY_FILE, ManagedBy, ResourceRecord
from astromesh.v1.history_pb2_grpc import HistoryServiceStub, add_HistoryServiceServicer_to_server
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.audit.heads import Signer, anchored_heads, head_of, head_sha256, is_genuine
from astromesh_core.audit.verifying import Finding, verify
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.events.chain import GENESIS
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_history.app import open_history
from astromesh_history.audit import keeping, tree_file
from astromesh_testing.commits import begun, completed, new_run, requested
from astromesh_testing.contracts.placement import Placement

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub

KEY = b"k" * 32
PUBLIC = Signer(KEY).public_key


@asynccontextmanager
async def history(placement: Placement, bus: Bus, folder: Path) -> AsyncGenerator[HistoryServiceAsyncStub]:
    async with open_history(folder, bus, Telemetry(), Readiness(), KEY) as service:

        def register(server: RpcServer) -> None:
            add_HistoryServiceServicer_to_server(service, server)

        async with placement(register) as channel:
            yield HistoryServiceStub(channel)


class Recording:
    """A run that is written bit by bit."""

    def __init__(self, bus: Bus, question: str = "hello", session: str = "a" * 26, namespace: str = "default") -> None:
        self.run: Aggregate = new_run(namespace)
        self._writer = AggregateWriter(bus.log, bus.values, self.run, Position.START, GENESIS, "test", lambda: 7)
        event = requested(question)
        event.requested.session_key = session
        self._writer.record(event)

    async def on(self, *, ends: bool) -> None:
        self._writer.record(completed() if ends else begun())
        await self._writer.flush()


async def recorded(bus: Bus, question: str = "hello", session: str = "a" * 26, namespace: str = "default") -> Aggregate:
    run = Recording(bus, question, session, namespace)
    await run.on(ends=True)
    return run.run


async def exported(stub: HistoryServiceAsyncStub, namespace: str = "default", **of: object) -> list[bytes]:
    request = ExportAuditRequest(namespace=namespace, **of)  # pyright: ignore[reportArgumentType] - the test names the request's fields
    data = b"".join([piece.data async for piece in stub.ExportAudit(request, timeout=20)])
    return data.splitlines(keepends=True)


def found(lines: list[bytes], anchors: list[TreeHead] | None = None) -> Finding:
    return verify(lines, anchored=anchors, public_key=PUBLIC)


async def declare(bus: Bus, audit: dict[str, object], by: ManagedBy.ValueType = MANAGED_BY_FILE) -> None:
    spec = orjson.dumps({"audit": audit}).decode()
    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="mesh")
    await bus.resources.put(ResourceRecord(ref=ref, managed_by=by, spec_json=spec))


async def eventually(
    stub: HistoryServiceAsyncStub, holds: Callable[[ListTreeHeadsResponse], bool]
) -> ListTreeHeadsResponse:
    async with asyncio.timeout(10):
        while not holds(state := await stub.ListTreeHeads(ListTreeHeadsRequest())):  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.02)
    return state


def git(repository: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", repository, *words], check=True, capture_output=True, text=True).stdout


def forget_read_model(folder: Path) -> None:
    for file in folder.glob("history.sqlite*"):
        file.unlink()


def nothing(_tree: keeping.AuditTree, _chains: object) -> None:
    """Stands for a process that ended before it came to it."""


async def test_an_exported_run_proves_itself(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path) as stub:
        runs = [await recorded(bus, "word " * 100_000 if number == 1 else "hello") for number in range(4)]
        lines = await exported(stub, run_ids=[runs[1].id, runs[2].id])
        finding = found(lines)
        assert finding.ok, finding
        assert [(chain.id, chain.events, chain.absent) for chain in finding.chains] == [
            (runs[1].id, 2, 0),
            (runs[2].id, 2, 0),
        ]
        assert sum(line.startswith(b'{"value"') for line in lines) == 1


async def test_a_session_is_exported_with_all_its_runs_and_a_time_with_what_was_asked_in_it(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    async with history(placement, bus, tmp_path) as stub:
        mine = [await recorded(bus, session="b" * 26) for _ in range(3)]
        await recorded(bus)
        await recorded(bus, namespace="others", session="b" * 26)
        finding = found(await exported(stub, session_key="b" * 26))
        assert finding.ok
        assert [chain.id for chain in finding.chains] == [run.id for run in mine]
        assert len(found(await exported(stub, from_unix_nano=7)).chains) == 4
        with pytest.raises(NotFound):
            await exported(stub, from_unix_nano=8)
        with pytest.raises(NotFound):
            await exported(stub, namespace="others", run_ids=[mine[0].id])
        with pytest.raises(InvalidInput):
            await exported(stub)


async def test_a_run_that_goes_on_stands_in_the_tree_again(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path) as stub:
        run = Recording(bus)
        await run.on(ends=False)
        first = found(await exported(stub, run_ids=[run.run.id]))
        await run.on(ends=True)
        second = found(await exported(stub, run_ids=[run.run.id]))
        again = found(await exported(stub, run_ids=[run.run.id]))
        assert [finding.chains[0].events for finding in (first, second, again)] == [2, 3, 3]
        assert first.ok
        assert second.ok
        heads = [head for head in (first.head, second.head, again.head) if head is not None]
        assert [head.size for head in heads] == [1, 2, 2]
        assert heads[1].previous == head_sha256(heads[0])


async def test_what_came_while_the_tree_was_away_is_taken_in(
    placement: Placement, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping.AuditTree, "written", nothing)
    async with history(placement, bus, tmp_path) as stub:
        runs = [await recorded(bus) for _ in range(3)]
        await asyncio.sleep(0.3)
    monkeypatch.undo()
    async with history(placement, bus, tmp_path) as stub:
        state = await eventually(stub, lambda state: bool(state.heads) and state.heads[0].size == 3)
        assert is_genuine(state.heads[0])
        assert found(await exported(stub, run_ids=[run.id for run in runs])).ok


async def test_the_tree_outlives_the_read_model(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path) as stub:
        run = await recorded(bus)
        before = found(await exported(stub, run_ids=[run.id])).head
    forget_read_model(tmp_path)
    async with history(placement, bus, tmp_path) as stub:
        after = found(await exported(stub, run_ids=[run.id]))
        assert after.ok
        assert after.head == before


async def test_heads_are_told_to_every_place_and_one_that_fails_holds_up_none(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    taken: list[TreeHead] = []
    status = 500

    async def take(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer me"
        if status == 200:
            taken.append(head_of(orjson.loads(await request.read())))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/heads", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "-q")
    for name, value in (("user.name", "mesh"), ("user.email", "mesh@localhost")):
        git(repository, "config", name, value)
    file = tmp_path / "outside" / "heads.jsonl"
    anchors = [
        {"type": "file", "path": str(file)},
        {"type": "git", "repository": str(repository)},
        {"type": "http", "url": f"http://127.0.0.1:{port}/heads", "headers": {"Authorization": "Bearer ${WHO:-me}"}},
    ]
    try:
        async with history(placement, bus, tmp_path / "history") as stub:
            await declare(bus, {"interval_seconds": 1, "anchors": anchors})
            await eventually(stub, lambda state: len(state.anchors) == 3)
            run = await recorded(bus)
            lines = await exported(stub, run_ids=[run.id])
            state = await stub.ListTreeHeads(ListTreeHeadsRequest())
            assert [anchor.size for anchor in state.anchors] == [1, 1, 0]
            assert "500" in state.anchors[2].trouble
            there = anchored_heads(file.read_bytes())
            assert found(lines, there).anchored
            assert anchored_heads((repository / "heads.jsonl").read_bytes()) == there
            status = 200
            await eventually(stub, lambda state: state.anchors[2].size == 1)
            assert taken == there
            for _ in range(2):
                await recorded(bus)
                await exported(stub, from_unix_nano=1)
            assert len(git(repository, "log", "--oneline").splitlines()) == 3
    finally:
        await runner.cleanup()


async def test_anchors_are_not_chosen_over_the_api(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    async with history(placement, bus, tmp_path / "history") as stub:
        await declare(bus, {"anchors": [{"type": "file", "path": str(file)}]}, MANAGED_BY_API)
        run = await recorded(bus)
        await asyncio.sleep(0.3)
        assert found(await exported(stub, run_ids=[run.id])).ok
        assert not (await stub.ListTreeHeads(ListTreeHeadsRequest())).anchors
        assert not file.exists()


async def test_a_place_that_never_answers_is_given_up_for_now(
    placement: Placement, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SECONDS", 0.2)
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, history(placement, bus, tmp_path) as stub:
        await declare(bus, {"anchors": [{"type": "http", "url": f"http://127.0.0.1:{port}/"}]})
        await eventually(stub, lambda state: len(state.anchors) == 1)
        run = await recorded(bus)
        assert found(await exported(stub, run_ids=[run.id])).ok
        assert asked.is_set()
        state = await stub.ListTreeHeads(ListTreeHeadsRequest())
        assert "no answer" in state.anchors[0].trouble
        server.close()


def none_behind(*_: object) -> tuple[list[tree_file.ChainState], int]:
    """Stands for a history that has just been started."""
    return [], 0


async def test_a_run_of_long_ago_proves_itself_to_who_keeps_all_heads(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    async with history(placement, bus, tmp_path / "history") as stub:
        await declare(bus, {"anchors": [{"type": "file", "path": str(file)}]})
        await eventually(stub, lambda state: len(state.anchors) == 1)
        runs = [await recorded(bus)]
        for _ in range(12):
            await exported(stub, run_ids=[runs[-1].id])
            runs.append(await recorded(bus))
        lines = await exported(stub, run_ids=[run.id for run in runs])
        heads = anchored_heads(file.read_bytes())
        assert len(heads) == 13
        for since in (0, 5, 12):
            assert found(lines, heads[since:]).ok
        few = found(lines, heads[10:])
        assert few.anchored
        assert "nothing shows that it stood under the head of 11 leaves" in few.chains[0].fault
        assert found(lines, heads).chains[0].anchored_unix_nano == heads[0].time_unix_nano


async def test_an_export_before_the_tree_has_caught_up_is_refused_while_it_can_be(
    placement: Placement, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping.AuditTree, "written", nothing)
    async with history(placement, bus, tmp_path):
        early = await recorded(bus)
        await asyncio.sleep(0.3)
    monkeypatch.undo()
    monkeypatch.setattr(tree_file, "behind", none_behind)
    async with history(placement, bus, tmp_path) as stub:
        late = await recorded(bus)
        assert found(await exported(stub, run_ids=[late.id])).ok
        pieces = stub.ExportAudit(ExportAuditRequest(namespace="default", run_ids=[late.id, early.id]), timeout=20)
        with pytest.raises(Unavailable, match="not all of it"):
            await anext(aiter(pieces))
