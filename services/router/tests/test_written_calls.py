"""Tool calls out of a model's text, however the text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_router.dialects.port import WrittenCall
from astromesh_router.dialects.written_calls import WrittenCalls

TOOLS = frozenset({"add", "look_up"})
ADD = '{"name": "add", "arguments": {"a": 1}}'
ADDED = WrittenCall("", "add", '{"a":1}')
LOOKED_UP = WrittenCall("", "look_up", "{}")

FORMS: list[tuple[str, str, str, list[WrittenCall]]] = [
    ("no call", "Just text, with < and {braces}.", "Just text, with < and {braces}.", []),
    ("one", f"<tool_call>\n{ADD}\n</tool_call>", "", [ADDED]),
    ("after blanks", f"\n\n<tool_call>{ADD}</tool_call>", "", [ADDED]),
    ("after text", f"Let me see.\n<tool_call>{ADD}</tool_call>\n", "Let me see.\n", [ADDED]),
    ("two", f'<tool_call>{ADD}</tool_call>\n<tool_call>{{"name": "look_up"}}</tool_call>', "", [ADDED, LOOKED_UP]),
    ("not closed", f"<tool_call>{ADD}", "", [ADDED]),
    ("Phi's list", f'<|tool_call|>[{ADD}, {{"name": "look_up"}}]<|/tool_call|>', "", [ADDED, LOOKED_UP]),
    ("Mistral's", f"[TOOL_CALLS][{ADD}]", "", [ADDED]),
    ("Llama's tag", '<|python_tag|>{"name": "add", "parameters": {"a": 1}}', "", [ADDED]),
    ("Llama's whole reply", '{"name": "add", "parameters": {"a": 1}}', "", [ADDED]),
    ("two of Llama's", f'{ADD}; {{"name": "look_up", "parameters": {{}}}}', "", [ADDED, LOOKED_UP]),
    ("arguments as text", '<tool_call>{"name": "add", "arguments": "{\\"a\\":1}"}</tool_call>', "", [ADDED]),
    ("no JSON", "<tool_call>add(1)</tool_call> so", "<tool_call>add(1)</tool_call> so", []),
    ("no tool", '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
    ("JSON in the middle", f"It is {ADD}", f"It is {ADD}", []),
    ("half a mark", "a <tool_", "a <tool_", []),
]


def read(pieces: list[str], tools: frozenset[str] = TOOLS) -> tuple[str, list[WrittenCall]]:
    reader = WrittenCalls(tools)
    text = "".join(reader.feed(piece) for piece in pieces) + reader.finish()
    return text, reader.calls


@pytest.mark.parametrize(("written", "said", "calls"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_calls_are_told_from_what_is_said(written: str, said: str, calls: list[WrittenCall]) -> None:
    assert read([written]) == (said, calls)


@given(st.sampled_from(FORMS), st.integers(1, 7))
def test_where_a_text_is_cut_changes_nothing(form: tuple[str, str, str, list[WrittenCall]], size: int) -> None:
    _, written, said, calls = form
    pieces = [written[start : start + size] for start in range(0, len(written), size)]
    assert read(pieces) == (said, calls)


def test_text_is_told_at_once_where_no_call_can_begin() -> None:
    reader = WrittenCalls(TOOLS)
    assert [reader.feed(piece) for piece in ("Hello", " <", "b>", " [")] == ["Hello", " ", "<b>", " "]


def test_without_tools_all_is_said() -> None:
    assert read([ADD], frozenset()) == (ADD, [])
