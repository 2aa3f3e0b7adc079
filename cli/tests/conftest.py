"""A mesh as users start it, shared by the tests of the client commands, and the command itself, run in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from pydantic import JsonValue
from typer.testing import CliRunner

from astromesh_cli.app import app
from astromesh_testing.mesh import Mesh, free_ports
from astromesh_testing.mesh_folders import ConfigFolder

DOCUMENTS = {
    "boats.md": "# Boats\n\nThe ferry to Elba leaves Piombino every hour, from six in the morning until ten.\n",
    "bread.md": "# Bread\n\nA sourdough loaf rests for twelve hours in the cold before it is baked.\n",
}
SEARCH: dict[str, JsonValue] = {
    "name": "search",
    "type": "rag",
    "pipeline": "docs",
    "description": "Searches the documents",
}

MEMORY: dict[str, JsonValue] = {"semantic": {"backend": "faiss"}, "episodic": {"backend": "sqlite"}}


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, JsonValue]:
        """Stdout as the one JSON document that it has to be."""
        return orjson.loads(self.out)

    def lines(self) -> list[dict[str, JsonValue]]:
        """Stdout as JSON lines."""
        return [orjson.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Terminal:
    """Runs commands against one mesh."""

    url: str
    folder: ConfigFolder
    mesh: Mesh | None = None

    def __call__(
        self, *arguments: str, stdin: str = "", code: int = 0, environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """Runs a command; fails where it does not end with `code`."""
        result = CliRunner().invoke(app, arguments, input=stdin, env={"ASTROMESH_URL": self.url, **(environment or {})})
        outcome = Outcome(result.exit_code, result.stdout, result.stderr)
        assert outcome.code == code, f"{outcome}\n{result.exception!r}"
        return outcome

    def asked(self, question: str = "When does the ferry to Elba leave?") -> str:
        """The id of a run that has completed."""
        return str(self("run", "librarian", question, "--json").document()["run_id"])


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """The command and a mesh: "librarian" and "rememberer" quote documents, "broken" has no model, "silent" one that
    never answers."""
    place = tmp_path_factory.mktemp("mesh")
    folder = ConfigFolder(place / "config")
    with socket.socket() as silent, asyncio.Runner() as runner:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        folder.pipeline("docs", DOCUMENTS)
        folder.agent("librarian", [], tools=[SEARCH])
        folder.agent("rememberer", [], tools=[SEARCH], memory=MEMORY)
        folder.agent("broken", [f"http://127.0.0.1:{free_ports(1)[0]}/v1"], tools=[])
        folder.agent("silent", [f"http://127.0.0.1:{silent.getsockname()[1]}/v1"], tools=[], seconds=60.0)
        mesh = Mesh(folder.path, place / "data")
        try:
            runner.run(mesh.start())
            using = Terminal(mesh.url, folder, mesh)
            using("rag", "ingest", "docs")
            yield using
        finally:
            runner.run(mesh.close())


@pytest.fixture
def nowhere(tmp_path: Path) -> Terminal:
    """The command, where no mesh is."""
    return Terminal(f"http://127.0.0.1:{free_ports(1)[0]}", ConfigFolder(tmp_path / "config"))
