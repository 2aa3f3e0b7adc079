"""Calls in processes of their own: what each ending means, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import Unavailable
from astromesh_testing.contracts.placement import in_process, until

from .serving import Mesh, failed, function, running


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", in_process) as mesh:
        mesh.write("shop", (Path(__file__).parent / "apart.py").read_text())
        yield mesh


def apart(mesh: Mesh, name: str, isolation: dict[str, object] | None = None, **fields: object) -> ResourceRef:
    return mesh.agents.add(function(name, isolation=isolation or {}, **fields))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def gone(pids: list[int]) -> bool:
    await until(lambda: not any(map(alive, pids)), 5.0)
    return True


async def pids_in(file: Path) -> list[int]:
    def told() -> list[int]:
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    await until(lambda: len(told()) == 2, 10.0)
    return told()


async def test_a_function_answers_from_a_process_of_its_own(mesh: Mesh) -> None:
    assert await mesh.output(apart(mesh, "add"), "add", '{"a": 2}') == "3"
    told = orjson.loads(await mesh.output(apart(mesh, "where"), "where", '{"when": "2026-02-03"}'))
    assert (told["year"], told["key"]) == (2026, "run:2.1")
    assert told["pid"] != os.getpid()
    assert not alive(told["pid"])
    busy = await mesh.call(apart(mesh, "busy", effect="write"), "busy")
    assert (failed(busy), busy.failure.retry_after_ms) == (("rate-limited", "slow down"), 2000)
    assert failed(await mesh.call(apart(mesh, "add"), "add", '{"b": 2}'))[0] == "invalid-input"


async def test_what_takes_too_much_memory_has_failed_for_a_write_too(mesh: Mesh) -> None:
    agent = apart(mesh, "grows", {"memory_mb": 64}, effect="write")
    assert await mesh.output(agent, "grows", '{"megabytes": 16}') == str(16 << 20)
    assert failed(await mesh.call(agent, "grows", '{"megabytes": 200}')) == (
        "limit-exceeded",
        "shop:grows needed more than 64 MB",
    )


@pytest.mark.parametrize(
    ("name", "isolation", "told"),
    [
        ("spins", {"cpu_seconds": 1}, "more than 1 s of CPU time"),
        ("crashes", {}, "SIGSEGV"),
        ("leaves", {}, "exited with 0 and without an answer"),
    ],
)
async def test_a_process_that_ends_without_an_answer_leaves_a_write_open_and_fails_a_read(
    mesh: Mesh, name: str, isolation: dict[str, object], told: str
) -> None:
    error_class, message = failed(await mesh.call(apart(mesh, name, isolation), name))
    assert error_class == "unavailable"
    assert told in message
    with pytest.raises(Unavailable) as unknown:
        await mesh.call(apart(mesh, name, isolation, effect="write"), name)
    assert told in str(unknown.value)


async def test_a_call_over_its_time_is_killed_with_all_that_it_started(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    agent = apart(mesh, "hangs", effect="write", timeout_seconds=1.5)
    with pytest.raises(Unavailable, match=r"did not answer within 1\.5 s and was killed"):
        await mesh.call(agent, "hangs", f'{{"file": "{file}"}}')
    assert await gone(await pids_in(file))
    file.unlink()
    calling = asyncio.ensure_future(mesh.call(apart(mesh, "hangs"), "hangs", f'{{"file": "{file}"}}', timeout=60))
    pids = await pids_in(file)
    calling.cancel()
    assert await gone(pids)


async def test_an_answer_leaves_nothing_behind_either(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    assert await mesh.output(apart(mesh, "leaves_another"), "leaves_another", f'{{"file": "{file}"}}') == "done"
    assert await gone(await pids_in(file))


async def test_what_cannot_be_begun_was_not_done(mesh: Mesh) -> None:
    agent = apart(mesh, "add", effect="write")
    assert await mesh.output(agent, "add", '{"a": 2}') == "3"
    mesh.write("shop", "broken(")
    assert failed(await mesh.call(agent, "add", '{"a": 2}'))[0] == "invalid-input"
    slow = apart(mesh, "add", effect="write", timeout_seconds=0.01)
    mesh.write("shop", (Path(__file__).parent / "apart.py").read_text())
    assert failed(await mesh.call(slow, "add", '{"a": 2}'))[0] == "unavailable"


_PARENT = """
import asyncio, sys
from astromesh_tools.processes import Processes
call = dict(folder=sys.argv[1], function="shop:hangs", arguments={"file": sys.argv[2]}, given=False,
            idempotency_key="", memory_mb=0, cpu_seconds=0)
asyncio.run(Processes().call(call, 600))
"""


async def test_calls_end_with_the_process_that_made_them(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _PARENT, str(mesh.folder), str(file))
    pids = await pids_in(file)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    assert await gone(pids)


@pytest.mark.parametrize("isolation", [{"process": False}, {"memory_mb": 1}, {"cpu_seconds": 0.5}, {"network": False}])
def test_a_bound_that_means_nothing_is_refused_at_load(mesh: Mesh, isolation: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        apart(mesh, "add", isolation)
