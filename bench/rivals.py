"""The others, each in an environment of its own under build/bench: installed once, at the versions pinned beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import postgres
import yaml
from figures import Latencies
from load import Load, generate
from mesh import NO_TOOL, ONE_TOOL
from processes import cores, free_port, running, wait_until_answering

from astromesh_testing.server_process import NotStarted

_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parent / "build" / "bench"
_POSTGRES = _ENVIRONMENTS / "rival_langgraph_postgres"


class Rival(Protocol):
    """Somebody else's runtime under the same load."""

    @property
    def name(self) -> str:
        """With its version, and what it makes durable."""
        ...

    @property
    def slower(self) -> float:
        """Share of our runs that is enough to measure it."""
        ...

    def run(self, endpoint: str, agent: str, at_once: int, runs: int) -> Latencies:
        """How this many runs go, so many at once, on the measured core."""
        ...


class NotMeasured(Exception):
    """A rival cannot run here; the message says why."""


@cache
def environment(folder: str, *pythons: str) -> Path:
    """The interpreter of a rival's environment, made where it is missing. Raises NotMeasured."""
    place = _ENVIRONMENTS / folder
    interpreter, stamp = place / "bin" / "python", place / ".installed"
    requirements = (_HERE / folder / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == requirements:
        return interpreter
    base = next((found for name in pythons if (found := _working(name))), None)
    if base is None:
        raise NotMeasured(f"needs {' or '.join(pythons)}")
    shutil.rmtree(place, ignore_errors=True)
    _told([base, "-m", "venv", str(place)])
    _told([str(interpreter), "-m", "pip", "install", "--no-deps", "-r", str(_HERE / folder / "requirements.txt")])
    stamp.write_text(requirements)
    return interpreter


def _told(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What a command printed. Raises NotMeasured, with its last words, where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise NotMeasured(f"{Path(command[0]).name} ended with {done.returncode}: {last_line(done.stderr)}")
    return done.stdout


def last_line(text: str) -> str:
    """What a table has room for."""
    return (text.strip().splitlines() or [""])[-1][:200]


def _working(name: str) -> str | None:
    """An interpreter of this name that starts: some are only shims."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{name.removeprefix('python')}.*/bin/python"))
    for found in (shutil.which(name), *map(str, pyenv)):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


@dataclass(frozen=True, slots=True)
class OldAstromesh:
    """`astromesh` 0.74.1 from PyPI over HTTP. Nothing of a run is durable. Its tool is a built-in one."""

    name: str = "astromesh 0.74.1 (nothing durable)"
    slower: float = 0.5

    def run(self, endpoint: str, agent: str, at_once: int, runs: int) -> Latencies:
        """See Rival."""
        interpreter = environment("rival_astromesh", "python3.12", "python3.13")
        with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
            folder, port = Path(made), free_port()
            _write_old_agent(folder / "agents", endpoint, agent)
            command = [str(interpreter), "-m", "uvicorn", "astromesh.api.main:app", "--port", str(port)]
            quiet = ["--log-level", "warning"]
            settings = {"ASTROMESH_CONFIG_DIR": str(folder), "BENCH_KEY": "none"}
            with running([*command, *quiet], cores()[0], output=folder / "log", environment=settings) as process:
                try:
                    wait_until_answering(f"http://127.0.0.1:{port}/v1/health", process)
                except TimeoutError as error:
                    raise NotMeasured(f"{error}: {last_line((folder / 'log').read_text())}") from None
                return generate(Load(port, f"/v1/agents/{agent}/run", at_once, runs, "forty-two"))


def _write_old_agent(folder: Path, endpoint: str, name: str) -> None:
    folder.mkdir()
    agent = {
        "apiVersion": "astromesh/v1",
        "kind": "Agent",
        "metadata": {"name": name, "version": "1.0.0", "namespace": "default"},
        "spec": {
            "identity": {"display_name": name, "description": "A calculator."},
            "model": {
                "primary": {
                    "provider": "openai_compat",
                    "model": "stub-1",
                    "endpoint": endpoint,
                    "api_key_env": "BENCH_KEY",
                }
            },
            "prompts": {"system": "You are a calculator. Use your tools."},
            "orchestration": {"pattern": "react", "max_iterations": 4},
            "tools": [{"name": "datetime_now", "type": "builtin"}] if name == ONE_TOOL else [],
        },
    }
    (folder / f"{name}.agent.yaml").write_text(yaml.safe_dump(agent))


_LANGGRAPH = "LangGraph 1.2.22, in process, {saver} saver, sync"
_PYTHONS = ("python3.11", "python3.12", "python3.13")


@dataclass(frozen=True, slots=True)
class LangGraphOnSqlite:
    """LangGraph's ReAct agent in process (no HTTP), its SQLite saver, durability "sync"."""

    name: str = _LANGGRAPH.format(saver="SQLite")
    slower: float = 0.2

    def run(self, endpoint: str, agent: str, at_once: int, runs: int) -> Latencies:
        """See Rival."""
        interpreter = environment("rival_langgraph", *_PYTHONS)
        with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
            return _looped(interpreter, endpoint, agent, at_once, runs, f"sqlite:{made}/checkpoints.db")


@dataclass(frozen=True, slots=True)
class LangGraphOnPostgres:
    """The same with its PostgreSQL saver. The server shares the measured core, as our nats-server does."""

    slower: float = 0.2

    @property
    def name(self) -> str:
        """See Rival."""
        folder = postgres.binaries(_POSTGRES)
        return _LANGGRAPH.format(saver="PostgreSQL" if folder is None else postgres.version_of(folder))

    def run(self, endpoint: str, agent: str, at_once: int, runs: int) -> Latencies:
        """See Rival."""
        interpreter = environment(_POSTGRES.name, *_PYTHONS)
        folder = postgres.binaries(_POSTGRES)
        if folder is None:
            raise NotMeasured(f"there is no PostgreSQL, in {_POSTGRES} or {postgres.SYSTEM}")
        try:
            with postgres.postgres(folder, cores()[0]) as dsn:
                return _looped(interpreter, endpoint, agent, at_once, runs, f"postgres:{dsn}")
        except NotStarted as error:
            raise NotMeasured(str(error)) from None


def _looped(interpreter: Path, endpoint: str, agent: str, at_once: int, runs: int, database: str) -> Latencies:
    tools = "0" if agent == NO_TOOL else "1"
    command = ["taskset", "-c", str(cores()[0]), str(interpreter), str(_HERE / "rival_langgraph" / "loop.py")]
    asked = [endpoint, tools, str(at_once), str(runs), database]
    told = _told([*command, *asked], {**os.environ, "LANGSMITH_TRACING": "false"})
    result = json.loads(told.splitlines()[-1])
    return Latencies(result["wall"], result["each"])


ALL: tuple[Rival, ...] = (OldAstromesh(), LangGraphOnSqlite(), LangGraphOnPostgres())
