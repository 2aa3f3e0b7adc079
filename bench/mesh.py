"""Our own side: a config folder with the agents of the benchmarks, and `astromesh up` on one core."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from processes import cores, free_port, running, wait_until_answering

NAME = "ours"
ONE_TOOL, NO_TOOL = "one-tool", "no-tool"

_TOOL = '''"""The tool of the benchmarks."""


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b
'''


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """A mesh that serves."""

    pid: int
    port: int
    ready_seconds: float
    """From its start until it was ready."""
    data: Path

    def path(self, agent: str) -> str:
        """Where an agent is asked."""
        return f"/v1/agents/{agent}/run"


def write_config(folder: Path, endpoint: str) -> None:
    """Agents `one-tool` and `no-tool` on the model at the endpoint."""
    (folder / "agents").mkdir(parents=True)
    (folder / "tools").mkdir()
    (folder / "tools" / "bench_tools.py").write_text(_TOOL)
    tool = {"name": "add", "type": "internal", "function": "bench_tools:add", "effect": "read"}
    for name, tools in ((ONE_TOOL, [tool]), (NO_TOOL, [])):
        agent = {
            "apiVersion": "astromesh/v1",
            "kind": "Agent",
            "metadata": {"name": name},
            "spec": {
                "model": {"primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": endpoint}},
                "prompts": {"system": "You are a calculator. Use your tools."},
                "orchestration": {"pattern": "react", "max_iterations": 4},
                "tools": tools,
            },
        }
        (folder / "agents" / f"{name}.agent.yaml").write_text(yaml.safe_dump(agent))


@contextmanager
def mesh(endpoint: str, kept: Path | None = None) -> Generator[RunningMesh]:
    """A mesh, ready, on the measured core: a new one with an empty log, or the one in the folder `kept`."""
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder = kept or Path(made)
        if not (folder / "config").exists():
            write_config(folder / "config", endpoint)
        port, grpc = free_port(), free_port()
        places = ["--config", str(folder / "config"), "--data", str(folder / "data")]
        command = [sys.executable, "-m", "astromesh_cli", "up", *places, "--port", str(port), "--grpc-port", str(grpc)]
        environment = {"ASTROMESH_LOG_LEVEL": "warning"}
        with running(command, cores()[0], output=folder / "mesh.log", environment=environment) as process:
            try:
                seconds = wait_until_answering(f"http://127.0.0.1:{port}/v1/health/ready", process)
            except TimeoutError as error:
                raise RuntimeError(f"the mesh is not ready: {(folder / 'mesh.log').read_text()[-4000:]}") from error
            yield RunningMesh(process.pid, port, seconds, folder / "data")
