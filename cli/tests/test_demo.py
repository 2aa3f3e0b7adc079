"""`up --demo --once` as `make run ONCE=1` starts it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from astromesh_testing.mesh import COMMAND

CONFIG = Path(__file__).parents[2] / "config"


def demo(config: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the demo to its end, with nothing but a pipe to write to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTROMESH_")}
    command = [str(COMMAND), "up", "--config", str(config), "--data", str(data), "--demo", "--once", *options]
    return subprocess.run(
        command, env={**environment, "TERM": "dumb"}, capture_output=True, text=True, timeout=55, check=False
    )


@pytest.mark.serial
def test_the_demo_asks_answers_proves_and_exits_0_on_free_ports(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        except OSError:
            # Somebody else has it: just as well.
            pass
        ended = demo(CONFIG, tmp_path / "data")
    assert ended.returncode == 0, ended.stderr
    for part in (
        "port 8000 is taken; the demo uses ",
        "8 documents in ",
        "Replay feeds the recorded outcomes",
        "Sources",
        "replay-and-verify.md",
        "tool succeeded",
        "replay identical",
        "chain intact",
        "No language model answers here",
    ):
        assert part in ended.stdout
    assert "\x1b" not in ended.stdout
    assert not (tmp_path / "data" / "rag.sock").exists()


@pytest.mark.serial
def test_a_demo_that_cannot_be_told_exits_1_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    agents = tmp_path / "config" / "agents"
    agents.mkdir()
    # Its only model is a feature that is not built: the agent never becomes ready.
    (agents / "docs-agent.agent.yaml").write_text(
        "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: docs-agent}\nspec:\n"
        "  model: {primary: {provider: extractive}}\n  orchestration: {pattern: swarm}\n"
    )
    ended = demo(tmp_path / "config", tmp_path / "data", "--port", "0")
    assert ended.returncode == 1
    assert "the demo did not come to its end: docs-agent is not ready" in ended.stderr
    assert "swarm" in ended.stderr
