"""What nobody should send, and what nobody should write into YAML: refused with its reason, and the mesh serves on."""

from __future__ import annotations

import asyncio
import secrets

import orjson
import pytest

from astromesh_testing.waiting import until

from .asking import ask, proven, run_of
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

RUN = "/v1/agents/talker/run"


async def test_a_question_of_a_megabyte_is_answered(talking: Talking) -> None:
    question = "Where is it? " + "a b c " * 170_000
    reply = await ask(talking.mesh, question)
    assert reply.status_code == 200, reply.text
    assert reply.json()["answer"].startswith("You asked: Where is it?")
    assert (await run_of(talking.mesh, reply.json()["run_id"]))["query"] == question
    await proven(talking.mesh, reply.json()["run_id"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"query": ""}', 422),
        (b'{"query": " \\n"}', 422),
        (b"{}", 422),
        (b'{"query": "x", "quarry": 1}', 422),
        (b'{"query": "\xff\xfe\xfd"}', 400),
        (b'{"query": "\\ud800"}', 400),
        (b"not json", 400),
        (b"", 400),
        (b'{"query": "' + b"x" * (5 << 20) + b'"}', 413),
    ],
    ids=["empty", "blank", "missing", "unknown-field", "not-utf8", "lone-surrogate", "not-json", "nothing", "5-mb"],
)
async def test_what_cannot_be_asked_is_refused(talking: Talking, body: bytes, status: int) -> None:
    response = await talking.mesh.client.post(RUN, content=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert (await ask(talking.mesh, "say on")).json()["answer"] == "on"


async def test_text_of_every_kind_comes_back_as_it_went(talking: Talking) -> None:
    text = 'naïve 東京 🙂 \u202e right \u0000 null and "quotes" {{ 7 * 7 }} <b>'
    reply = (await ask(talking.mesh, f"say {text}")).json()
    assert reply["answer"] == text
    await proven(talking.mesh, reply["run_id"])


async def test_a_bad_edit_is_refused_with_its_place_while_the_last_good_one_serves(talking: Talking) -> None:
    name = f"edited-{secrets.token_hex(3)}"
    file = talking.folder.agent(name, [talking.model.endpoint])
    client = talking.mesh.client

    async def told(field: str) -> object:
        return (await client.get(f"/v1/agents/{name}")).json().get(field)

    async def mended() -> bool:
        return not await told("refused_edit")

    async def gone() -> bool:
        return (await client.get(f"/v1/agents/{name}")).status_code == 404

    assert await until(lambda: told("ready"))
    good = file.read_bytes()
    declared = orjson.loads(good)
    declared["spec"]["promts"] = {"system": "x"}
    file.write_bytes(orjson.dumps(declared, option=orjson.OPT_INDENT_2))
    refused = await until(lambda: told("refused_edit"))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "promts" in text)
    assert f"agents/{file.name}:{line}" in str(refused)
    assert "promts" in str(refused)
    assert "prompts" in str(refused)
    assert (await ask(talking.mesh, "say still good", agent=name)).json()["answer"] == "still good"
    file.write_bytes(good)
    await until(mended)
    file.unlink()
    await until(gone)


ESCAPES = {
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attr filter": "{{ ''|attr('__class__')|attr('__mro__') }}",
    "attr filter, hexadecimal": "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "globals of a function": "{{ range.__init__.__globals__ }}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "cycler": "{{ cycler.__init__.__globals__.os }}",
    "format string": "{{ '{0.__class__.__init__.__globals__}'.format(context) }}",
    "format_map": "{{ '{a.__class__.__mro__}'.format_map({'a': context}) }}",
    "stored format": "{% set f = '{0.__class__.__base__}'.format %}{{ f(context) }}",
    "map attribute": "{{ ['']|map(attribute='__class__')|list }}",
    "self": "{{ self.__init__.__globals__ }}",
    "generator frame": "{{ (context.items()|map('upper')).gi_frame }}",
    "mutation": "{{ memory.conversation.append(1) }}",
    "import": "{% import 'os' as os %}{{ os }}",
    "include": "{% include '/etc/passwd' %}",
}
LEAKS = ("<class", "subclasses", "root:", "uid=", "__globals__':", "<module", "builtin_function")


@pytest.mark.parametrize("escape", ESCAPES)
async def test_a_prompt_that_tries_to_escape_gets_nothing(talking: Talking, escape: str) -> None:
    asked_before = len(talking.model.requests)
    async with made_agent(talking, [talking.model.endpoint], prompts={"system": ESCAPES[escape]}) as agent:
        reply = await ask(talking.mesh, "say hello", agent=agent, context={"a": 1})
        for request in talking.model.requests[asked_before:]:
            system = " ".join(str(message.get("content")) for message in request.messages)
            assert not any(leak in system for leak in LEAKS), system
        if reply.status_code != 200:
            assert "run_id" not in reply.json() or await proven(talking.mesh, reply.json()["run_id"])
            assert reply.status_code < 500, reply.text
    assert (await ask(talking.mesh, "say on")).json()["answer"] == "on"


async def test_a_template_without_end_is_cut_off(talking: Talking) -> None:
    bomb = "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}"
    async with made_agent(talking, [talking.model.endpoint], prompts={"system": bomb}) as agent:
        async with asyncio.timeout(20):
            reply = await ask(talking.mesh, "say hello", agent=agent)
    assert 400 <= reply.status_code < 500, reply.text
    assert (await ask(talking.mesh, "say on")).json()["answer"] == "on"
