"""What comes with a question, and what that does to its answer: pictures, a schema, a model that thinks first."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import openai
import pytest

from astromesh.v1.agent_pb2 import RunAgentRequest, StreamAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub, add_AgentServiceServicer_to_server
from astromesh.v1.values_pb2 import Image
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain, text_content
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_gateway.images import MOST_BYTES, check_images, image_of_data, image_of_url
from astromesh_gateway.service import AgentServicer, KeyGate
from astromesh_testing.scripted_runtime import ScriptedRun
from astromesh_testing.sse import messages

from .conftest import Mesh
from .test_socket import say, socket, until
from .test_streaming import RUN, STREAM

if TYPE_CHECKING:
    from astromesh.v1.agent_pb2_grpc import AgentServiceAsyncStub

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
PICTURE = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{PICTURE}"
ADDRESS = "https://example.org/cat.jpg"
SCHEMA: dict[str, object] = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
SCHEMA_TEXT = '{"type":"object","properties":{"sum":{"type":"integer"}},"required":["sum"]}'


async def sums(run: ScriptedRun) -> None:
    """Says something else first, as a model does that misses the schema."""
    await run.start()
    await run.begin("1")
    run.tell("1", "It is 2.", 0)
    await run.reply("1", "It is 2.")
    await run.begin("2")
    run.tell("2", '{"sum"', 0)
    await run.reply("2", '{"sum": 2}')
    await run.complete('{"sum": 2}')


async def thinks(run: ScriptedRun) -> None:
    await run.start()
    await run.begin("1")
    run.think("1", "one and one")
    run.tell("1", "it is", 0)
    await run.reply("1", "it is 2", thought="one and one")
    await run.complete("it is 2")


@asynccontextmanager
async def over_grpc(mesh: Mesh) -> AsyncGenerator[AgentServiceAsyncStub]:
    servicer = AgentServicer(mesh.gateway)

    def register(server: RpcServer) -> None:
        add_AgentServiceServicer_to_server(servicer, server)

    gate, telemetry = KeyGate(mesh.gateway.authenticator), mesh.platform.telemetry
    async with (
        serve([register], "127.0.0.1:0", gate, telemetry, drain_seconds=0) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield AgentServiceStub(channel)


def shown(images: Any) -> list[tuple[str, str, str]]:
    return [(image.media_type, plain(image.data), plain(image.url)) for image in images]


async def test_pictures_reach_the_run_by_address_and_as_data(mesh: Mesh) -> None:
    images = [{"media_type": "image/PNG", "data": PICTURE}, {"url": ADDRESS}, {"url": DATA_URL}]
    response = await mesh.client.post(RUN, json={"query": "what is it?", "images": images})
    assert response.status_code == 200, response.text
    requested = (await mesh.runtime.next_run()).requested
    assert shown(requested.images) == [("image/png", PICTURE, ""), ("", "", ADDRESS), ("image/png", PICTURE, "")]


@pytest.mark.parametrize("session", [{}, {"X-Astromesh-Session": "tuesday"}])
async def test_openai_clients_send_pictures_as_parts(mesh: Mesh, session: dict[str, str]) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://{mesh.url}/v1", api_key="none", max_retries=0) as client:
        await client.chat.completions.create(
            model="agent",
            messages=[
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]},
                {"role": "assistant", "content": "a cat"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "and this?"},
                        {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}},
                    ],
                },
            ],
            extra_headers=session,
        )
    requested = (await mesh.runtime.next_run()).requested
    assert plain(requested.query) == "and this?"
    assert shown(requested.images) == [("image/png", PICTURE, "")]
    earlier = [shown(message.images) for message in requested.transcript]
    assert earlier == ([] if session else [[("", "", ADDRESS)], []])


async def test_pictures_and_schemas_come_over_sockets_and_grpc_too(mesh: Mesh) -> None:
    async with socket(mesh) as connection:
        await say(connection, query="x", images=[{"url": ADDRESS}], output_schema=SCHEMA)
        await until(connection, "done")
    by_socket = (await mesh.runtime.next_run()).requested
    request = RunAgentRequest(
        agent="agent", query="x", images=[Image(url=text_content(ADDRESS))], output_schema_json=SCHEMA_TEXT
    )
    async with over_grpc(mesh) as stub:
        await stub.RunAgent(request)
    by_grpc = (await mesh.runtime.next_run()).requested
    for requested in (by_socket, by_grpc):
        assert shown(requested.images) == [("", "", ADDRESS)]
        assert requested.output_schema_json == SCHEMA_TEXT


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([{"url": ADDRESS}] * 17, "there are 17 images; a request may have 16"),
        ([{"url": "http://example.org/cat.jpg"}], "images[0] has a URL that is neither https nor data"),
        ([{"url": ADDRESS}, {"url": "file:///etc/passwd"}], "images[1] has a URL"),
        ([{"url": "data:image/png,plain"}], "images[0] has a URL"),
        ([{"url": "https://"}], "images[0] has a URL"),
        ([{"url": "https://me:secret@example.org/cat.jpg"}], "images[0] has a URL"),
        ([{"url": "https://169.254.169.254/latest"}], "an address of a private network; send the picture itself"),
        ([{"url": "https://0x7f.1:8443/"}], "an address of a private network"),
        ([{"url": "https://[::ffff:10.0.0.1]/"}], "an address of a private network"),
        ([{"url": "https://localhost./"}], "an address of a private network"),
        (
            [{"media_type": "image/svg+xml", "data": PICTURE}],
            "images[0] is of type 'image/svg+xml'; known are image/png",
        ),
        ([{"data": PICTURE}], "images[0] is of type ''"),
        ([{"media_type": "image/png", "data": "not base64!"}], "images[0] is not in base64"),
        ([{"media_type": "image/jpeg", "data": PICTURE}], "images[0] is no image/jpeg"),
        ([{"media_type": "image/png", "data": PICTURE + "A" * (2 * MOST_BYTES)}], "10000000"),
        ([dict[str, str]()], "needs either url, or data"),
        ([{"url": ADDRESS, "data": PICTURE}], "needs either url, or data"),
    ],
)
async def test_refuses_pictures_that_cannot_go_on(mesh: Mesh, images: list[dict[str, str]], told: str) -> None:
    response = await mesh.client.post(RUN, json={"query": "x", "images": images})
    assert response.status_code in (400, 413, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert told in response.text or response.status_code == 413
    assert not mesh.runtime.runs


def test_pictures_are_bounded_together() -> None:
    half = base64.b64encode(PNG + bytes(MOST_BYTES // 2)).decode()
    check_images([image_of_data("image/png", half)])
    with pytest.raises(InvalidInput, match="together"):
        check_images([image_of_data("image/png", half), image_of_url(f"data:image/png;base64,{half}")])


@pytest.mark.parametrize("role", ["system", "assistant"])
async def test_only_users_show_pictures(mesh: Mesh, role: str) -> None:
    part = {"type": "image_url", "image_url": {"url": ADDRESS}}
    body = {"model": "agent", "messages": [{"role": role, "content": [part]}, {"role": "user", "content": "x"}]}
    response = await mesh.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "only the user's may" in response.json()["error"]["message"]


async def test_a_question_with_other_pictures_or_schema_is_another_request(mesh: Mesh) -> None:
    bodies: list[dict[str, Any]] = [{}, {"images": [{"url": ADDRESS}]}, {"output_schema": SCHEMA}]
    headers = {"Idempotency-Key": "k1"}
    first = await mesh.client.post(RUN, json={"query": "x", **bodies[0]}, headers=headers)
    assert first.status_code == 200
    for body in bodies[1:]:
        assert (await mesh.client.post(RUN, json={"query": "x", **body}, headers=headers)).status_code == 409


async def test_an_answer_with_a_schema_comes_parsed_too(mesh: Mesh) -> None:
    mesh.runtime.script = sums
    reply = (await mesh.client.post(RUN, json={"query": "1 + 1?", "output_schema": SCHEMA})).json()
    assert (reply["answer"], reply["data"]) == ('{"sum": 2}', {"sum": 2})
    assert (await mesh.runtime.next_run()).requested.output_schema_json == SCHEMA_TEXT
    plainly = (await mesh.client.post(RUN, json={"query": "1 + 1?"})).json()
    assert "data" not in plainly


async def test_of_an_answer_with_a_schema_only_the_checked_text_is_told(mesh: Mesh) -> None:
    mesh.runtime.script = sums
    body = {"query": "1 + 1?", "output_schema": SCHEMA}
    async with mesh.client.stream("POST", RUN, json=body, headers=STREAM) as response:
        told = [message async for message in messages(response)]
    assert [message.data["text"] for message in told if message.name == "token"] == ['{"sum": 2}']
    assert told[-1].data["data"] == {"sum": 2}


async def test_openai_clients_ask_for_a_schema_and_get_nothing_but_json(mesh: Mesh) -> None:
    mesh.runtime.script = sums
    async with openai.AsyncOpenAI(base_url=f"http://{mesh.url}/v1", api_key="none", max_retries=0) as client:
        reply = await client.chat.completions.create(
            model="agent",
            messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "sum", "strict": True, "schema": SCHEMA}},
        )
        stream = await client.chat.completions.create(
            model="agent",
            messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}},
            stream=True,
        )
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert reply.choices[0].message.content == streamed == '{"sum": 2}'
    assert (await mesh.runtime.next_run()).requested.output_schema_json == SCHEMA_TEXT


async def test_json_of_any_shape_may_be_asked_for(mesh: Mesh) -> None:
    for kind, schema in (("json_object", '{"type":"object"}'), ("text", "")):
        body = {"model": "agent", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": kind}}
        assert (await mesh.client.post("/v1/chat/completions", json=body)).status_code == 200
        assert (await mesh.runtime.next_run()).requested.output_schema_json == schema


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"$ref": "#/nowhere"}, {"pattern": "("}])
async def test_refuses_what_is_no_schema(mesh: Mesh, schema: dict[str, Any]) -> None:
    response = await mesh.client.post(RUN, json={"query": "x", "output_schema": schema})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("output_schema ")


async def test_what_a_model_thinks_is_told_apart_from_what_it_says(mesh: Mesh) -> None:
    mesh.runtime.script = thinks
    async with mesh.client.stream("POST", RUN, json={"query": "x"}, headers=STREAM) as response:
        told = [message async for message in messages(response)]
    assert [message.data["text"] for message in told if message.name == "reasoning"] == ["one and one"]
    assert "".join(message.data["text"] for message in told if message.name == "token") == "it is 2"
    assert told[-1].data["answer"] == "it is 2"
    assert told[-1].data["steps"][0]["reasoning"] == "one and one"


async def test_thinking_is_told_over_sockets_and_grpc_too(mesh: Mesh) -> None:
    mesh.runtime.script = thinks
    async with socket(mesh) as connection:
        await say(connection, query="x")
        frames = await until(connection, "done")
    assert [frame["content"] for frame in frames if frame["type"] == "reasoning"] == ["one and one"]
    request = StreamAgentRequest(run=RunAgentRequest(agent="agent", query="x"))
    async with over_grpc(mesh) as stub:
        parts = [part async for part in stub.StreamAgent(request)]
    assert [part.reasoning for part in parts if part.HasField("reasoning")] == ["one and one"]


async def test_an_agent_with_output_rules_shows_no_thinking(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start(checks_output=True)
        await run.begin("1")
        run.think("1", "secret")
        await run.reply("1", "it is 2", thought="secret")
        await run.complete("it is 2")

    mesh.runtime.script = script
    async with mesh.client.stream("POST", RUN, json={"query": "x"}, headers=STREAM) as response:
        whole = "".join([line async for line in response.aiter_lines()])
    assert "secret" not in whole
