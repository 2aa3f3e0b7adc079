"""The OpenAPI entry of docs/tools.md, word for word, in a mesh: a run calls its operations, and a wrong one is told."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
import yaml

from astromesh_testing.models.loopback import Exchange, HttpRequest, LoopbackServer
from astromesh_testing.waiting import until

from .asking import ask, proven
from .conftest import Talking
from .made_agents import judged

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "tools.md"
PETS = """
openapi: 3.1.0
info: {title: Pets, version: "7"}
paths:
  /pets/{petId}:
    parameters: [{name: petId, in: path, required: true, schema: {type: integer}}]
    get: {operationId: getPet, summary: Tells of a pet.}
    delete: {summary: Lets a pet go.}
  /pets:
    post:
      operationId: createPet
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
components:
  schemas:
    Pet:
      type: object
      required: [name]
      properties: {name: {type: string}, mother: {$ref: "#/components/schemas/Pet"}}
"""


def documented(**environ: str) -> dict[str, dict[str, object]]:
    found = re.search(
        r"```yaml\n# config/agents/keeper.agent.yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found, f"{PAGE.name} shows no keeper"
    text = found[1]
    for name, value in environ.items():
        text = text.replace(f"${{{name}}}", value)
    declared: dict[str, dict[str, object]] = yaml.safe_load(text)
    return declared


async def test_a_run_calls_the_documented_operations(talking: Talking) -> None:
    asked: list[HttpRequest] = []

    async def pets(exchange: Exchange) -> None:
        asked.append(exchange.request)
        await exchange.send(200, orjson.dumps({"pet": {"name": "Rex"}}), "application/json")

    apis = talking.folder.path / "apis"
    apis.mkdir(exist_ok=True)
    (apis / "pets.yaml").write_text(PETS, encoding="utf-8")
    async with LoopbackServer(pets) as server:
        # A mesh reads secrets from its own environment; PATH is one that every process has.
        agent = documented(KEEPER_MODEL=talking.model.endpoint, PETS_URL=server.url, PETS_TOKEN="${PATH}")
        created = await talking.mesh.client.post("/v1/agents", json=agent)
        assert created.status_code == 201, created.text
        await until(lambda: judged(talking, "keeper"))
        made = (await ask(talking.mesh, 'use pets_createPet {"body": {"name": "Rex"}}', agent="keeper")).json()
        wrong = (await ask(talking.mesh, 'use pets_getPet {"petId": "x"}', agent="keeper")).json()
        listed = (await talking.mesh.client.get("/v1/tools?agent=keeper")).json()["tools"]
        by_hand = {"agent": "keeper", "tool_name": "pets_getPet", "arguments": {"petId": 7}}
        tried = await talking.mesh.client.post("/v1/tools/execute", json=by_hand)
    request, second = asked
    assert tried.status_code == 200, tried.text
    assert (second.method, second.path) == ("GET", "/pets/7")
    assert made["answer"] == 'It is {"name":"Rex"}.'
    assert (request.method, request.path, orjson.loads(request.body)) == ("POST", "/pets", {"name": "Rex"})
    assert request.headers["idempotency-key"].startswith(made["run_id"])
    assert "integer" in str(wrong["steps"])
    assert {tool["name"]: (tool["type"], tool["effect"]) for tool in listed if tool["agent"] == "keeper"} == {
        "pets_getPet": ("openapi", "read"),
        "pets_createPet": ("openapi", "idempotent"),
        "pets_DELETE_pets_petId": ("openapi", "write"),
    }
    await proven(talking.mesh, made["run_id"])
    await talking.mesh.client.delete("/v1/agents/keeper")


async def test_an_operation_that_is_not_there_keeps_the_agent_from_ready(talking: Talking) -> None:
    apis = talking.folder.path / "apis"
    apis.mkdir(exist_ok=True)
    (apis / "pets.yaml").write_text(PETS, encoding="utf-8")
    agent = documented(KEEPER_MODEL=talking.model.endpoint, PETS_URL="http://127.0.0.1:9", PETS_TOKEN="${PATH}")
    agent["metadata"]["name"] = "careless"
    text = yaml.safe_dump(agent).replace("- getPet", "- getPett")
    created = await talking.mesh.client.post("/v1/agents", json=yaml.safe_load(text))
    assert created.status_code == 201, created.text
    await until(lambda: judged(talking, "careless"))
    shown = (await talking.mesh.client.get("/v1/agents/careless")).json()
    await talking.mesh.client.delete("/v1/agents/careless")
    told = {condition["type"]: condition["message"] for condition in shown["conditions"]}
    assert shown["ready"] is False
    assert "has no operation 'getPett'; did you mean 'getPet'?" in told["ToolsRegistered"]
