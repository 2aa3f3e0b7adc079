"""A whole mesh for the tests of this folder that kill none, its model talking by what the question says."""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from pydantic import JsonValue

from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.talkative import converse

ONE_PROCESS, PROCESSES = "one-process", "processes"
SAMPLED_OF = 3
"""Of so many tests, one runs over processes too; all of them where SOAK is set."""

DOCUMENTS = {
    "boats.md": "# Boats\n\nThe ferry to Elba leaves Piombino every hour, from six in the morning until ten.\n",
    "bread.md": "# Bread\n\nA sourdough loaf rests for twelve hours in the cold before it is baked.\n",
}


PATTERNS: dict[str, JsonValue] = {
    "planner": {"pattern": "plan_and_execute"},
    "line": {"pattern": "pipeline", "stages": [{"name": "ask", "agent": "talker"}, "tidy"]},
    "choir": {"pattern": "parallel_fan_out", "branches": ["one", {"name": "two", "agent": "talker"}]},
    "crew": {"pattern": "swarm", "agents": ["talker", {"agent": "other", "description": "Takes over"}]},
    "boss": {"pattern": "supervisor", "workers": ["talker", {"agent": "other", "description": "Knows the rest"}]},
}
"""Agents of other patterns than react, by name."""


@dataclass
class Talking:
    """A running mesh with its model server and its config folder."""

    mesh: Mesh
    model: OpenAIChatServer
    folder: ConfigFolder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs every test of a shared mesh in one process, and a seeded sample of them over a process per service."""
    if "talking" not in metafunc.fixturenames:
        return
    seed = os.environ.get("SEED", "astromesh")
    sampled = zlib.crc32(f"{seed}:{metafunc.function.__name__}".encode()) % SAMPLED_OF == 0
    placements = [ONE_PROCESS, PROCESSES] if sampled or os.environ.get("SOAK") else [ONE_PROCESS]
    metafunc.parametrize("talking", placements, indirect=True, scope="session")


def talking_folder(path: Path, endpoint: str) -> ConfigFolder:
    """The agents of the shared mesh."""
    folder = ConfigFolder(path)
    folder.agent("talker", [endpoint])
    folder.agent("other", [endpoint])
    asks: JsonValue = {"name": "ask", "type": "agent", "agent": "talker", "description": "Asks the talker"}
    folder.agent("desk", [endpoint], tools=[asks], memory={})
    for name, orchestration in PATTERNS.items():
        folder.agent(name, [endpoint], orchestration=orchestration, memory={})
    forbidden: JsonValue = {
        "type": "content_filter",
        "forbidden_keywords": ["internal_only", "Project Aurora"],
        "action": "redact",
    }
    rules: JsonValue = [{"type": "pii_detection", "action": "redact"}, forbidden]
    folder.agent("guarded", [endpoint], guardrails={"output": rules})
    folder.agent("talker", [endpoint], namespace="elsewhere")
    folder.agent(
        "librarian",
        [],
        tools=[{"name": "search", "type": "rag", "pipeline": "docs", "description": "Searches the documents"}],
    )
    folder.pipeline("docs", DOCUMENTS)
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def talking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talking]:
    """A mesh for every test that kills none."""
    root = tmp_path_factory.mktemp("mesh")
    async with OpenAIChatServer(otherwise=converse) as model:
        folder = talking_folder(root / "config", model.endpoint)
        async with running_mesh(folder.path, root / "data", processes=request.param == PROCESSES) as mesh:
            yield Talking(mesh, model, folder)


Record = Callable[[str, Mapping[str, object]], None]
"""Writes down what a long test counted, for the ledger."""


@pytest.fixture
def record() -> Record:
    """Appends a line of JSON to the file that `SOAK_FIGURES` names, if any."""
    path = os.environ.get("SOAK_FIGURES")

    def write(name: str, figures: Mapping[str, object]) -> None:
        if path:
            with Path(path).open("ab") as file:
                file.write(orjson.dumps({"name": name, **figures}) + b"\n")

    return write


OpenMesh = Callable[..., Awaitable[Talking]]


@pytest.fixture
async def open_mesh(tmp_path: Path) -> AsyncIterator[OpenMesh]:
    """Opens a mesh of the test's own, to be killed; further settings are passed on. Ended with the test."""
    async with AsyncExitStack() as stack:

        async def opened(*, processes: bool = False, **settings: object) -> Talking:
            model = await stack.enter_async_context(OpenAIChatServer(otherwise=converse))
            folder = talking_folder(tmp_path / "config", model.endpoint)
            running = running_mesh(folder.path, tmp_path / "data", processes=processes, **settings)
            return Talking(await stack.enter_async_context(running), model, folder)

        yield opened
