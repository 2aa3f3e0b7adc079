"""The built-in tools of docs/tools.md, word for word, in a mesh: a run calls them, and so does a caller by hand."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
import yaml

from astromesh_testing.waiting import until

from .asking import Json, ask, events_of, proven
from .conftest import Talking
from .made_agents import judged, made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "tools.md"


@pytest_asyncio.fixture(loop_scope="session")
async def scribe(talking: Talking) -> AsyncIterator[Talking]:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"```yaml\n# config/agents/scribe.agent.yaml\n(.*?)```", text, re.DOTALL)
    assert found, f"{PAGE.name} shows no scribe"
    agent = yaml.safe_load(found[1].replace("${SCRIBE_MODEL}", talking.model.endpoint))
    created = await talking.mesh.client.post("/v1/agents", json=agent)
    assert created.status_code == 201, created.text
    await until(lambda: judged(talking, "scribe"))
    yield talking
    await talking.mesh.client.delete("/v1/agents/scribe")


async def tried(talking: Talking, tool: str, **arguments: object) -> Json:
    body = {"agent": "scribe", "tool_name": tool, "arguments": arguments}
    answered = await talking.mesh.client.post("/v1/tools/execute", json=body)
    assert answered.status_code == 200, answered.text
    return answered.json()["result"]


async def test_a_run_calls_a_built_in_and_is_proven(scribe: Talking) -> None:
    reply = (await ask(scribe.mesh, 'use calculator {"expression": "0.1 + 0.2"}', agent="scribe")).json()
    assert reply["answer"] == 'It is {"result":"0.3"}.'
    assert "0.1 + 0.2" in str(await events_of(scribe.mesh, reply["run_id"]))
    await proven(scribe.mesh, reply["run_id"])


async def test_a_run_goes_on_with_what_was_wrong(scribe: Talking) -> None:
    reply = (await ask(scribe.mesh, 'use calculator {"expression": "2 ^ 3"}', agent="scribe")).json()
    assert "write ** for powers" in reply["answer"]
    await proven(scribe.mesh, reply["run_id"])


async def test_built_ins_are_called_by_hand(scribe: Talking) -> None:
    assert (await tried(scribe, "datetime_now"))["timezone"] == "Europe/Zurich"
    assert (await tried(scribe, "datetime_now", timezone="UTC"))["datetime"].endswith("+00:00")
    assert await tried(scribe, "pick", data='{"order": {"total": 7}}', path="$.order.total") == 7


async def test_the_catalogue_and_the_list_of_all_built_ins_agree(scribe: Talking) -> None:
    client = scribe.mesh.client
    listed = (await client.get("/v1/tools", params={"agent": "scribe"})).json()["tools"]
    assert [(tool["name"], tool["type"], tool["effect"]) for tool in listed] == [
        ("datetime_now", "builtin", "read"),
        ("calculator", "builtin", "read"),
        ("pick", "builtin", "read"),
    ]
    known = (await client.get("/v1/tools/builtin")).json()
    by_name = {tool["name"]: tool for tool in known["tools"]}
    assert known["count"] == len(by_name)
    assert by_name["calculator"]["parameters"] == listed[1]["parameters"]
    assert set(by_name["datetime_now"]["config"]["properties"]) == {"timezone"}


async def test_a_run_reads_files_databases_and_pages_where_they_are_declared(talking: Talking) -> None:
    notes = talking.folder.path / "notes"
    notes.mkdir(exist_ok=True)
    (notes / "today.txt").write_text("ferry at ten\n")
    with closing(sqlite3.connect(talking.folder.path / "ferries.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS ferries (port TEXT)")
        database.execute("INSERT INTO ferries VALUES ('Elba')")
    tools = [
        {"name": "ferries", "type": "builtin", "tool": "sql_query", "config": {"path": "ferries.db"}},
        {"name": "read_file", "type": "builtin", "config": {"allowed_paths": ["notes"]}},
        {"name": "web_scrape", "type": "builtin"},
    ]
    async with made_agent(talking, [talking.model.endpoint], tools=tools) as name:
        read = (await ask(talking.mesh, 'use read_file {"path": "today.txt"}', agent=name)).json()
        out = (await ask(talking.mesh, 'use read_file {"path": "../runtime.yaml"}', agent=name)).json()
        rows = (
            await ask(talking.mesh, 'use ferries {"query": "SELECT DISTINCT port FROM ferries"}', agent=name)
        ).json()
        url = orjson.dumps({"url": talking.model.endpoint}).decode()
        page = (await ask(talking.mesh, f"use web_scrape {url}", agent=name)).json()
    assert read["answer"] == "It is ferry at ten."
    assert "lies outside of what may be read" in out["answer"]
    assert "inside the network" in page["answer"]
    assert rows["answer"] == 'It is {"columns":["port"],"rows":[["Elba"]]}.'
    for reply in (read, out, page, rows):
        await proven(talking.mesh, reply["run_id"])


async def test_every_built_in_is_documented(talking: Talking) -> None:
    known = (await talking.mesh.client.get("/v1/tools/builtin")).json()["tools"]
    page = PAGE.read_text(encoding="utf-8")
    for tool in known:
        (row,) = re.findall(rf"^\| `{tool['name']}` \|.*$", page, re.MULTILINE)
        missing = [
            name for name in (*tool["parameters"]["properties"], *tool["config"]["properties"]) if name not in row
        ]
        assert missing == [], tool["name"]


async def test_a_built_in_that_there_is_not_is_refused(talking: Talking) -> None:
    spec = {
        "model": {"primary": {"provider": "ollama", "model": "m"}},
        "tools": [{"name": "calculater", "type": "builtin"}],
    }
    body = {"apiVersion": "astromesh/v1", "kind": "Agent", "metadata": {"name": "wrong"}, "spec": spec}
    refused = await talking.mesh.client.post("/v1/agents", json=body)
    assert refused.status_code == 422, refused.text
    assert "did you mean 'calculator'?" in orjson.dumps(refused.json()).decode()
