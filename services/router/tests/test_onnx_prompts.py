"""A model's own chat template: what it is given, how it is shut in, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Message, Reasoning
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_router.dialects.onnx_prompts import Prompts, written_messages

from .asking import ADD, called, result, system, user

ALL = "{{ bos_token }}{{ messages | tojson }}{{ tools | tojson }}{{ add_generation_prompt }}"


def prompts(folder: Path, template: object, **more: object) -> Prompts:
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({"chat_template": template, **more}))
    return Prompts(folder)


def test_the_template_reads_messages_tools_and_tokens(tmp_path: Path) -> None:
    messages = [system("<be> kind"), user("1+1?"), called("add", '{"a":1}', "c1"), result("add", "2", "c1")]
    made = prompts(tmp_path, ALL, bos_token={"content": "<s>"})
    prompt = made.written(written_messages(messages, "reasoning_content"), [ADD], {})
    assert prompt.startswith('<s>[{"role": "system", "content": "<be> kind"}, {"role": "user"')
    assert '"function": {"name": "add", "arguments": {"a": 1}}' in prompt, "arguments are an object"
    assert '"name": "add", "tool_call_id": "c1"' in prompt
    assert prompt.endswith('"parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]True')


def test_thinking_of_this_turn_goes_back(tmp_path: Path) -> None:
    del tmp_path
    thought = Message(role=ROLE_ASSISTANT, reasoning=[Reasoning(text=text_content("hm"))])
    written = written_messages([user("a"), thought, user("b"), thought], "reasoning_content")
    assert [message.get("reasoning_content") for message in written] == [None, None, None, "hm"]


def test_blocks_leave_no_lines_behind_and_loops_may_break(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}\n{% if loop.index > 1 %}\n{% break %}\n{% endif %}\n{{ m.content }}\n{% endfor %}"
    )
    made = prompts(tmp_path, template)
    assert made.written(written_messages([user("a"), user("b")], ""), [], {}) == "a\n"


def test_a_template_is_told_what_parameters_say(tmp_path: Path) -> None:
    made = prompts(tmp_path, "{{ 'thinks' if enable_thinking else 'does not' }}")
    assert made.written([], [], {"enable_thinking": True}) == "thinks"
    assert made.written([], [], {}) == "does not"


def test_a_file_of_its_own_goes_before_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("from the file")
    assert prompts(tmp_path, "from the configuration").written([], [], {}) == "from the file"


def test_a_template_for_tools_is_taken_where_there_are_tools(tmp_path: Path) -> None:
    both = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    made = prompts(tmp_path, both)
    assert (made.written([], [], {}), made.written([], [ADD], {})) == ("plain", "tools")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{{ messages.append(1) }}", "refused the conversation"),
        ("{{ ''.__class__.__mro__ }}", "refused the conversation"),
        ("{{ 1 // 0 }}", "refused the conversation"),
        ("{{ messages[0].content + 1 }}", "refused the conversation"),
    ],
)
def test_what_a_template_refuses_or_may_not_do_is_said(tmp_path: Path, template: str, said: str) -> None:
    made = prompts(tmp_path, template)
    with pytest.raises(InvalidInput, match=said):
        made.written(written_messages([user("a")], ""), [], {})


@pytest.mark.parametrize(("template", "said"), [(None, "has no chat template"), ("{% if %}", "cannot be read")])
def test_a_model_without_a_readable_template_is_refused(tmp_path: Path, template: str | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        prompts(tmp_path, template)
