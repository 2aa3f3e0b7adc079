"""Operations of an OpenAPI document as tools: against a server that keeps what it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from pydantic import ValidationError

from astromesh.v1.tools_pb2 import DescribeToolsRequest, DescribeToolsResponse, ExecuteToolRequest
from astromesh.v1.values_pb2 import (
    TOOL_EFFECT_KIND_IDEMPOTENT,
    TOOL_EFFECT_KIND_READ,
    TOOL_EFFECT_KIND_WRITE,
    ResourceRef,
    ToolCall,
)
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_testing.contracts.placement import in_process
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_tools.openapi.documents import Document
from astromesh_tools.openapi.operations import find

from .serving import Mesh, failed, running
from .test_webhooks import Shop, answering

PETS = """
openapi: 3.0.3
info: {title: Pets, version: 2026-11-21}
servers: [{url: "SERVER/{base}", variables: {base: {default: v1}}}]
paths:
  /pets/{petId}:
    parameters:
      - {name: petId, in: path, required: true, schema: {type: integer}, description: Its number.}
    get:
      operationId: getPet
      summary: Tells of a pet.
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string}}}
        - {name: tags, in: query, explode: false, schema: {type: array, items: {type: string}}}
        - {name: filter, in: query, style: deepObject, schema: {type: object}}
        - {name: limit, in: query, schema: {type: integer, default: 20}}
        - {$ref: "#/components/parameters/Trace"}
        - {name: Authorization, in: header, schema: {type: string}}
    put:
      operationId: pets.replace
      requestBody: {$ref: "#/components/requestBodies/Pet"}
  /pets:
    post:
      operationId: createPet
      description: Adds a pet.
      requestBody: {$ref: "#/components/requestBodies/Pet"}
    delete:
      summary: Removes all.
components:
  parameters:
    Trace: {name: X-Trace, in: header, schema: {type: string}}
  requestBodies:
    Pet:
      required: true
      content: {"application/json; charset=utf-8": {schema: {$ref: "#/components/schemas/Pet"}}}
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties:
        id: {type: integer, readOnly: true}
        name: {type: string, example: Rex}
        nick: {type: string, nullable: true, enum: [Rexy]}
        weight: {type: number, minimum: 0, exclusiveMinimum: true}
        mother: {$ref: "#/components/schemas/Pet"}
"""


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    (tmp_path / "config").mkdir()
    async with running(tmp_path / "tools", in_process) as mesh:
        yield mesh


def entry(**fields: object) -> dict[str, object]:
    named = {"name": "pets", "type": "openapi", "spec": "pets.yaml", "operations": ["getPet", "createPet"]}
    return {**named, "allow_private": True, **fields}


def place(mesh: Mesh, text: str = PETS, server: str = "http://127.0.0.1:9") -> Path:
    file = mesh.folder.parent / "config" / "pets.yaml"
    file.write_text(text.replace("SERVER", server), encoding="utf-8")
    return file


async def described(mesh: Mesh, agent: ResourceRef) -> DescribeToolsResponse:
    return await mesh.stub.DescribeTools(DescribeToolsRequest(agent=agent), timeout=10)


def document(text: str) -> Document:
    return Document(text.encode())


async def test_operations_are_tools_with_their_schema_and_effect(mesh: Mesh) -> None:
    place(mesh)
    operations = ["getPet", "pets.replace", "DELETE /pets"]
    agent = mesh.agents.add(entry(operations=operations, prefix="shop_", effects={"pets.replace": "idempotent"}))
    catalogue = await described(mesh, agent)
    effects = {tool.name: tool.effect for tool in catalogue.tools}
    get, replace, _ = (orjson.loads(tool.parameters_json) for tool in catalogue.tools)
    assert effects == {
        "shop_getPet": TOOL_EFFECT_KIND_READ,
        "shop_pets_replace": TOOL_EFFECT_KIND_IDEMPOTENT,
        "shop_DELETE_pets": TOOL_EFFECT_KIND_WRITE,
    }
    assert catalogue.tools[0].description == "Tells of a pet."
    assert (catalogue.tools[0].origin.name, catalogue.tools[0].origin.version) == ("getPet", "2026-11-21")
    assert get["properties"]["petId"] == {"type": "integer", "description": "Its number."}
    assert set(get["properties"]) == {"petId", "fields", "tags", "filter", "limit", "X-Trace"}
    assert get["required"] == ["petId"]
    assert replace["properties"]["body"] == {"$ref": "#/$defs/Pet"}
    assert replace["$defs"]["Pet"] == {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "nick": {"type": ["string", "null"], "enum": ["Rexy", None]},
            "weight": {"type": "number", "exclusiveMinimum": 0},
            "mother": {"$ref": "#/$defs/Pet"},
        },
    }


async def test_sends_what_the_document_says(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETS_TOKEN", "a-token-of-the-pets")
    shop = Shop(answering(200, {"pet": {"name": "Rex", "key": "a-token-of-the-pets"}}))
    async with LoopbackServer(shop) as server:
        place(mesh, server=server.url)
        auth = {"type": "bearer", "token": "${PETS_TOKEN}"}
        agent = mesh.agents.add(entry(auth=auth, response={"select": "$.pet"}))
        arguments = {
            "petId": 7,
            "fields": ["name", "a b"],
            "tags": ["x", "y"],
            "filter": {"age": 3},
            "X-Trace": "abc",
        }
        told = await mesh.output(agent, "getPet", orjson.dumps(arguments).decode())
        await mesh.output(agent, "createPet", '{"body": {"name": "Ada", "mother": {"name": "Eve"}}}')
    (get, target, got, empty), (post, path, posted, body) = shop.asked
    assert (get, urlsplit(target).path, empty) == ("GET", "/v1/pets/7", b"")
    assert parse_qsl(urlsplit(target).query) == [
        ("fields", "name"),
        ("fields", "a b"),
        ("tags", "x,y"),
        ("filter[age]", "3"),
    ]
    assert (got["x-trace"], got["authorization"]) == ("abc", "Bearer a-token-of-the-pets")
    assert "idempotency-key" not in got
    assert (post, path, orjson.loads(body)) == ("POST", "/v1/pets", {"name": "Ada", "mother": {"name": "Eve"}})
    assert posted["content-type"] == "application/json; charset=utf-8"
    assert posted["idempotency-key"] == "run:2.1"
    assert orjson.loads(told) == {"name": "Rex", "key": "[secret]"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"petId": "../admin"}', "integer"),
        ('{"petId": 1, "X-Trace": "a\\r\\nHost: evil"}', "goes into a header"),
        ('{"petId": 1, "more": 2}', "more"),
        ("{}", "petId"),
    ],
)
async def test_arguments_stay_in_their_place(mesh: Mesh, arguments: str, reason: str) -> None:
    place(mesh)
    code, message = failed(await mesh.call(mesh.agents.add(entry()), "getPet", arguments))
    assert code == "invalid-input"
    assert reason in message


async def test_the_network_inside_is_refused_unless_the_entry_allows_it(mesh: Mesh) -> None:
    place(mesh)
    code, message = failed(await mesh.call(mesh.agents.add(entry(allow_private=False)), "getPet", '{"petId": 1}'))
    assert code == "denied"
    assert "allow_private" in message


@pytest.mark.parametrize(
    ("changed", "fields", "reason"),
    [
        (("", ""), {"operations": ["getPett"]}, "has no operation 'getPett'; did you mean 'getPet'?"),
        (("openapi: 3.0.3", "swagger: '2.0'"), {}, "is no OpenAPI 3.0 or 3.1 document: it has no field openapi"),
        (("openapi: 3.0.3", "openapi: ["), {}, "is neither JSON nor YAML"),
        (
            ("#/components/schemas/Pet", "#/components/schemas/Gone"),
            {},
            "'#/components/schemas/Gone', which is not in it",
        ),
        (("#/components/schemas/Pet", "other.yaml#/Pet"), {}, "outside the document"),
        (('{$ref: "#/components/requestBodies/Pet"}', "{required: true, content: {text/csv: {}}}"), {}, "text/csv"),
        (("{name: petId, in: path", "{name: other, in: path"), {}, "{petId} in its path and no parameter"),
        (("", ""), {"spec": "../secret.yaml"}, "outside the config folder"),
        (("", ""), {"spec": "gone.yaml"}, "gone.yaml cannot be read"),
        (("", ""), {"sha256": "0" * 64}, "is not the document that sha256 pins: it has "),
        (("createPet", "pets_replace"), {"operations": ["pets.replace", "pets_replace"]}, "both called pets_replace"),
        (
            (
                '"SERVER/{base}", variables: {base: {default: v1}}',
                '"http://x/${a}", variables: {a: {default: "{HOME}"}}',
            ),
            {},
            "server whose address is none",
        ),
    ],
)
async def test_says_why_no_tools_come_of_a_document(
    mesh: Mesh, changed: tuple[str, str], fields: dict[str, object], reason: str
) -> None:
    place(mesh, PETS.replace(*changed) if changed[0] else PETS)
    with pytest.raises(InvalidInput, match="agent desk, tool pets: ") as raised:
        await described(mesh, mesh.agents.add(entry(**fields)))
    assert reason in raised.value.message


async def test_a_changed_document_is_for_new_runs_and_a_bad_one_for_none(mesh: Mesh) -> None:
    shop = Shop(answering(200, {"ok": True}))
    async with LoopbackServer(shop) as server:
        file = place(mesh, server=server.url)
        agent = mesh.agents.add(entry())
        before = (await described(mesh, agent)).tools[0]
        place(mesh, PETS.replace("/pets/{petId}", "/animals/{petId}"), server=server.url)
        after = (await described(mesh, agent)).tools[0]
        file.write_text("nonsense", encoding="utf-8")
        refused = await described(mesh, agent)
        for spec in (before, after):
            call = ToolCall(id="c", name="getPet", arguments=text_content('{"petId": 1}'))
            await mesh.stub.ExecuteTool(ExecuteToolRequest(agent=agent, call=call, pinned=spec), timeout=10)
    assert before.origin.sha256 != after.origin.sha256
    assert [path for _, path, _, _ in shop.asked] == ["/v1/pets/1", "/v1/animals/1"]
    assert refused.tools[0] == after
    assert refused.sources[0].reason == "ChangeRefused"


async def test_a_document_at_an_address_is_fetched_once_and_only_as_it_is_pinned(mesh: Mesh) -> None:
    text = PETS.replace("SERVER/{base}", "/api/{base}").encode()
    asked: list[str] = []

    async def web(exchange: Exchange) -> None:
        asked.append(exchange.request.path)
        kind = "application/yaml" if exchange.request.path == "/pets.yaml" else "application/json"
        await exchange.send(200, text if kind == "application/yaml" else b"{}", kind)

    async with LoopbackServer(web) as server:
        digest = hashlib.sha256(text).hexdigest()
        agent = mesh.agents.add(entry(spec=f"{server.url}/pets.yaml", sha256=digest))
        assert (await described(mesh, agent)).sources[0].connected
        await described(mesh, agent)
        await mesh.output(agent, "getPet", '{"petId": 1}')
        other = mesh.agents.add(entry(spec=f"{server.url}/pets.yaml", sha256="0" * 64))
        refused = (await described(mesh, other)).sources[0]
        inside = mesh.agents.add(entry(spec=f"{server.url}/x.yaml", sha256="1" * 64, allow_private=False))
        denied = (await described(mesh, inside)).sources[0]
    assert asked == ["/pets.yaml", "/api/v1/pets/1", "/pets.yaml"]
    assert (refused.connected, refused.required) == (False, True)
    assert f"it has {digest}" in refused.message
    assert (denied.connected, denied.reason) == (False, "Denied")


def test_an_address_needs_a_pin(mesh: Mesh) -> None:
    with pytest.raises(ValidationError, match="needs its sha256"):
        mesh.agents.add(entry(spec="https://example.com/pets.yaml"))


def test_parameters_of_one_name_in_two_places_are_both_taken() -> None:
    text = PETS.replace("{name: limit, in: query", "{name: petId, in: query")
    call = find(document(text), "getPet")
    assert {place.argument: place.name for place in call.query}["petId_query"] == "petId"
    assert call.path == "/pets/{{ petId }}"


def test_a_3_1_document_keeps_its_json_schema() -> None:
    text = PETS.replace("3.0.3", "3.1.0").replace("minimum: 0, exclusiveMinimum: true", "exclusiveMinimum: 0")
    text = text.replace("type: string, nullable: true, enum: [Rexy]", "type: [string, 'null'], examples: [a]")
    pet = find(document(text), "createPet").parameters["$defs"]
    assert isinstance(pet, dict)
    assert isinstance(pet["Pet"], dict)
    properties = pet["Pet"]["properties"]
    assert isinstance(properties, dict)
    assert (properties["nick"], properties["weight"]) == (
        {"type": ["string", "null"]},
        {"type": "number", "exclusiveMinimum": 0},
    )


def test_references_that_go_round_are_told() -> None:
    text = PETS.replace(
        "Trace: {name: X-Trace, in: header, schema: {type: string}}", "Trace: {$ref: '#/components/parameters/Trace'}"
    )
    with pytest.raises(InvalidInput, match="refers to itself"):
        find(document(text), "getPet")


@pytest.mark.parametrize(
    "text",
    [
        "openapi: 3.0.0\npaths: &a\n  x: *a\n",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a: " + "[" * 100_000,
        "a: !!python/object/apply:os.system [id]",
        "a: !!binary aGk=",
        "n: " + "9" * 400,
        "n: " + "9" * 5_000,
        "{" * 100_000,
        "\x00",
    ],
    ids=range(9),
)
def test_a_document_that_is_made_to_hurt_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        document(text)
