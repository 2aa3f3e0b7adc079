"""A mesh under load, killed whole at random moments, or one process after the other: what callers were told is in the
log, once, and every run of it replays.

`make soak` and `make chaos` run it for `SOAK_MINUTES` and `CHAOS_MINUTES`; among the other tests it is skipped, as
`test_kills` has samples.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import httpx
import pytest

from .asking import Json, ask, events_of, posted, until_status
from .conftest import OpenMesh, Record, Talking

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
CHAOS_MINUTES = float(os.environ.get("CHAOS_MINUTES", "0"))
SEED = os.environ.get("SEED", "astromesh")
CALLERS = 8
WORDS = ("add {0} 1", "note n{0}", "count c{0}", "say s{0} and more", "slowly w{0} one two three", "hold h{0} 0.2")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.serial,
    pytest.mark.timeout(0),
]

PROCESSES = (
    "gateway",
    "runtime",
    "router",
    "memory",
    "tools",
    "guardrails",
    "rag",
    "history",
    "operator",
    "nats-server",
)


@dataclass
class Told:
    """What callers were told: every run id that was given out, and the whole answers."""

    admitted: set[str] = field(default_factory=set[str])
    answers: dict[str, str] = field(default_factory=dict[str, str])
    retries: int = 0
    resolved: int = 0
    refusals: Counter[str] = field(default_factory=Counter[str])


@dataclass
class Losses:
    """What the log lacks of what was told, and effects that happened twice."""

    prefix: int = 0
    middle: int = 0
    postfix: int = 0
    broken: int = 0
    doubled: int = 0


async def call(talking: Talking, number: int, told: Told, until: float) -> None:
    """Asks until the time has come; over a crash the same question again, with its key."""
    asked = 0
    while time.monotonic() < until:
        asked += 1
        question = WORDS[asked % len(WORDS)].format(f"{number}x{asked}")
        key = f"{number}-{asked}"
        while True:
            try:
                reply = await ask(talking.mesh, question, key=key, session_id=f"caller-{number}-{asked % 3}")
            except httpx.TransportError:
                reply = None
            if reply is not None and reply.status_code in (200, 202):
                run = reply.json()
                told.admitted.add(run["run_id"])
                if run["status"] == "completed":
                    told.answers[run["run_id"]] = run["answer"]
                break
            told.retries += 1
            told.refusals[f"{question.partition(' ')[0]} {reply.text if reply else 'cut off'}"] += 1
            await asyncio.sleep(0.2)


async def resolve_all(talking: Talking, told: Told) -> None:
    """Does what a human does for writes that were cut off, until cancelled: without it their sessions wait."""
    client = talking.mesh.client
    while True:
        await asyncio.sleep(0.5)
        try:
            page = await client.get("/v1/runs", params={"status": "needs-human", "page_size": 1000})
            waiting: list[Json] = page.json()["runs"] if page.status_code == 200 else []
            for run in waiting:
                body = {"path": run["waiting_path"], "outcome": "succeeded", "result": "settled by hand"}
                resolved = await client.post(f"/v1/runs/{run['run_id']}/resolve", json=body)
                told.resolved += resolved.status_code == 200
        except httpx.TransportError:
            pass  # the mesh was killed; it is started again


async def judge(talking: Talking, run_id: str, told: Told, losses: Losses) -> str:
    """Counts what is missing of a run; its status."""
    response = await talking.mesh.client.get(f"/v1/runs/{run_id}")
    if response.status_code == 404:
        losses.prefix += 1
        return "lost"
    run: Json = await until_status(talking.mesh, run_id, "completed", 60)
    indexes = [event["index"] for event in await events_of(talking.mesh, run_id)]
    losses.prefix += indexes[0] != 0
    losses.middle += indexes != list(range(indexes[0], indexes[0] + len(indexes)))
    losses.postfix += run_id in told.answers and run["answer"] != told.answers[run_id]
    verified = await posted(talking.mesh, f"/v1/runs/{run_id}/verify")
    replayed = await posted(talking.mesh, f"/v1/runs/{run_id}/replay")
    losses.broken += not (verified["ok"] and replayed["identical"])
    return str(run["status"])


def doubled(talking: Talking) -> int:
    """Writes that happened more than once: for each, the first phase is written before the effect."""
    writes = Counter(
        effect.text
        for effect in talking.folder.effects()
        if (effect.tool, effect.phase) in {("note", "done"), ("hold", "begun")}
    )
    keys: dict[str, set[str]] = {}
    for effect in talking.folder.effects():
        keys.setdefault(effect.text, set()).add(effect.key)
    return sum(count - 1 for count in writes.values()) + sum(len(found) - 1 for found in keys.values())


Kill = Callable[[random.Random], Awaitable[str]]
"""Kills what it is to kill, and says what that was."""


async def survive(talking: Talking, minutes: float, kill: Kill, pause: tuple[float, float]) -> dict[str, object]:
    """Asks and kills for so long, then audits every run that anybody was told of; the figures, all as they should."""
    chance, told, losses, kills = random.Random(SEED), Told(), Losses(), Counter[str]()
    human = asyncio.create_task(resolve_all(talking, told))
    ends = time.monotonic() + minutes * 60
    callers = [asyncio.create_task(call(talking, number, told, ends)) for number in range(CALLERS)]
    while time.monotonic() < ends:
        await asyncio.sleep(chance.uniform(*pause))
        kills[await kill(chance)] += 1
    await talking.mesh.ready(60)
    _, waiting = await asyncio.wait(callers, timeout=60)
    assert not waiting, told.refusals.most_common(5)
    statuses = Counter([await judge(talking, run_id, told, losses) for run_id in sorted(told.admitted)])
    human.cancel()
    losses.doubled = doubled(talking)
    figures: dict[str, object] = {
        "kills": kills.total(),
        **({f"of {name}": count for name, count in sorted(kills.items())} if len(kills) > 1 else {}),
        "runs": len(told.admitted),
        "retries": told.retries,
        "unknown": told.resolved,
        **statuses,
        **asdict(losses),
    }
    assert losses == Losses(), figures
    assert statuses.keys() == {"completed"}, figures
    return figures


@pytest.mark.skipif(not MINUTES, reason="for make soak")
async def test_what_callers_were_told_survives_the_death_of_the_whole_mesh(open_mesh: OpenMesh, record: Record) -> None:
    talking = await open_mesh()

    async def everything(_: random.Random) -> str:
        await talking.mesh.kill()
        await talking.mesh.start()
        return "mesh"

    record("whole-mesh kills under load", await survive(talking, MINUTES, everything, (0.5, 4.0)))


@pytest.mark.skipif(not CHAOS_MINUTES, reason="for make chaos")
async def test_what_callers_were_told_survives_the_death_of_each_process(open_mesh: OpenMesh, record: Record) -> None:
    talking = await open_mesh(processes=True)

    async def one(chance: random.Random) -> str:
        name = chance.choice(PROCESSES)
        try:
            await talking.mesh.kill_process(name)
        except LookupError:
            return "none: it was being started again"
        return name

    record("kills of single processes under load", await survive(talking, CHAOS_MINUTES, one, (0.5, 3.0)))
