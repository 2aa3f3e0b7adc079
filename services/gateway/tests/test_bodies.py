"""Bodies that are made to cost more than they have bytes: each is refused before it does."""

from __future__ import annotations

import base64
import time

import orjson
import pytest

from astromesh_core.errors import InvalidInput
from astromesh_gateway.bodies import MAX_BODY_BYTES, Question, RunBody, TooLarge, Unprocessable, parse_question
from astromesh_gateway.routes.openai_requests import ChatBody

MANY = MAX_BODY_BYTES // 3 - 100


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ChatBody, '{"model":"m","messages":[%s{}]}' % ("{}," * MANY)),
        (ChatBody, '{"model":"m","messages":[{"role":"user","content":[%s{}]}]}' % ("{}," * MANY)),
        (ChatBody, '{"model":"m","messages":[{"role":"assistant","tool_calls":[%s{}]}]}' % ("{}," * MANY)),
        (RunBody, '{"query":"q","images":[%s{}]}' % ("{}," * MANY)),
        (RunBody, '{"query":"q"' + "".join(f',"{n}":0' for n in range(300_000)) + "}"),
    ],
)
def test_a_body_of_nothing_but_mistakes_is_refused_at_once(model: type[Question], body: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidInput) as refused:
        parse_question(body.encode(), model)
    assert len(refused.value.message) < 1_000
    assert time.perf_counter() - begun < 1


def test_a_few_mistakes_are_told_each_with_its_place() -> None:
    with pytest.raises(Unprocessable) as refused:
        parse_question(b'{"query":"","sesion":"x","images":[{}]}', RunBody)
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(
    "values", ["[%s0]" % ("0," * 6_000_000), "[%s{}]" % ("{}," * 4_000_000), "[%s0]" % ('"\\"",' * 2_000_000)]
)
def test_room_for_pictures_is_no_room_for_small_values(values: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(TooLarge):
        parse_question('{"query":"q","context":{"a":' + values + "}}", RunBody)
    assert time.perf_counter() - begun < 1


def test_pictures_have_their_room_beside_the_rest() -> None:
    picture = base64.b64encode(bytes(9_000_000)).decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    text = {"type": "text", "text": "x" * (MAX_BODY_BYTES // 2)}
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": [text, url]}]})
    assert parse_question(body, ChatBody).picture_characters() == len(picture) + len("data:image/png;base64,")
    run = {"query": "x" * (MAX_BODY_BYTES // 2), "images": [{"media_type": "image/png", "data": picture}]}
    assert parse_question(orjson.dumps(run).decode(), RunBody).picture_characters() == len(picture)
