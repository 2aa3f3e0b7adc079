"""The provider of docs/providers.md, word for word, in a mesh: what a user copies from there answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from astromesh_testing.waiting import until

from .asking import ask, events_of, proven
from .conftest import Talking
from .made_agents import judged, made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "providers.md"


def block(language: str, file: str) -> str:
    """The block of the page that is headed by this file's name."""
    found = re.search(rf"```{language}\n# {re.escape(file)}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} shows no {file}"
    return found[1]


async def test_the_documented_provider_answers(talking: Talking) -> None:
    folder = talking.folder.path / "providers"
    folder.mkdir(exist_ok=True)
    (folder / "shouting.py").write_text(block("python", "config/providers/shouting.py"), encoding="utf-8")
    agent = yaml.safe_load(block("yaml", "config/agents/shouter.agent.yaml"))
    created = await talking.mesh.client.post("/v1/agents", json=agent)
    assert created.status_code == 201, created.text
    await until(lambda: judged(talking, "shouter"))
    reply = (await ask(talking.mesh, "is anybody here", agent="shouter")).json()
    assert reply["answer"] == "IS ANYBODY HERE!! "
    await proven(talking.mesh, reply["run_id"])
    await talking.mesh.client.delete("/v1/agents/shouter")


async def test_a_class_that_does_not_exist_is_named_and_the_next_candidate_answers(talking: Talking) -> None:
    missing = {"provider": "nowhere.at_all:Missing", "model": "m"}
    sound = {"provider": "openai_compat", "model": "stub-1", "endpoint": talking.model.endpoint}
    async with made_agent(talking, [talking.model.endpoint], model={"primary": missing, "fallback": [sound]}) as agent:
        reply = (await ask(talking.mesh, "say hello", agent=agent)).json()
        assert reply["answer"] == "hello"
        events = await events_of(talking.mesh, reply["run_id"])
        assert "nowhere.at_all:Missing" in str(events)
