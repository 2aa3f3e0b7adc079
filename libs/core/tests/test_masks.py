"""Masks: what a model reads in place of personal data, and their undoing, whole and in pieces."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, MaskedValue, Message, ToolCall
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.masks import LONGEST_TOKEN, Masks, Restoring

ADA, KEY = "ada@example.com", '-----BEGIN KEY-----\n"x"\\'
TOKENS = {"<EMAIL_1>": ADA, "<PRIVATE_KEY_1>": KEY}
PARTS = st.sampled_from(
    [*TOKENS, ADA, KEY, "<", "<<EMAIL", "_1", ">", "<EMAIL_2>", "<a_1>", "x", " ", "<" + "A" * LONGEST_TOKEN]
)


def masks() -> Masks:
    made = Masks()
    made.learn(MaskedValue(token=token, value=text_content(value)) for token, value in TOKENS.items())
    return made


@given(st.lists(PARTS, max_size=12), st.lists(st.integers(1, 9), max_size=40))
def test_any_split_is_undone_as_the_whole_is(parts: list[str], lengths: list[int]) -> None:
    text, told, restoring = "".join(parts), "", Restoring(masks())
    left = text
    for length in lengths:
        told += restoring.put(left[:length])
        left = left[length:]
    told += restoring.put(left)
    assert told + restoring.end() == masks().restored(text)


@given(st.lists(PARTS, max_size=12))
def test_no_value_is_left_and_undoing_brings_back_what_was_hidden(parts: list[str]) -> None:
    text = "".join(parts)
    hidden = masks().hidden(text)
    assert ADA not in hidden
    assert KEY not in hidden
    assert masks().restored(hidden) == masks().restored(text)


@given(st.lists(PARTS, max_size=12))
def test_what_stands_escaped_in_json_is_hidden_and_undone_too(parts: list[str]) -> None:
    value = {"x": "".join(parts)}
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        hidden = masks().hidden(written)
        assert ADA not in hidden
        assert "BEGIN KEY" not in hidden
        assert json.loads(masks().restored(hidden, in_json=True)) == {"x": masks().restored(value["x"])}


def test_a_message_is_undone_with_its_calls() -> None:
    call = ToolCall(id="c", name="send", arguments=text_content('{"key": "<PRIVATE_KEY_1>"}'))
    message = Message(role=ROLE_ASSISTANT, content=text_content("to <EMAIL_1>"), tool_calls=[call])
    restored = masks().restored_message(message)
    assert plain(restored.content) == f"to {ADA}"
    assert json.loads(plain(restored.tool_calls[0].arguments)) == {"key": KEY}
    assert Masks().restored_message(message) is message
    assert Masks().hidden(ADA) == ADA
