"""What a model reads: the conversation in its own chat template, rendered in Jinja2's immutable sandbox.

Templates come with a model's files and are written for `transformers`; what they may use is what that offers.
Source: Hugging Face, "Chat templates", "Writing a chat template".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn, cast

import orjson
from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from astromesh.v1.values_pb2 import ROLE_TOOL, Message, ToolCall, ToolSpec
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain
from astromesh_router.dialects.decoding import NOTHING, JsonObject, Malformed, as_list, as_object, as_text, json_object
from astromesh_router.dialects.openai_messages import ROLES
from astromesh_router.dialects.requesting import WrittenMessage, thoughts_of_turn

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILE = "tokenizer_config.json"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
WITH_TOOLS, WITHOUT_TOOLS = "tool_use", "default"

Choice = Mapping[str, object]


class Prompts:
    """Writes prompts for the model of a folder. Raises InvalidInput where it has no template, or a bad one."""

    def __init__(self, folder: Path) -> None:
        configuration = _configuration(folder / TOKENIZER_FILE)
        environment = _environment()
        try:
            self._templates = {
                name: environment.from_string(source) for name, source in _sources(folder, configuration).items()
            }
        except TemplateError as error:
            raise InvalidInput(f"its chat template cannot be read: {error}") from error
        self._tokens = {name: _token(configuration.get(name)) for name in SPECIAL_TOKENS}

    def written(self, messages: Sequence[WrittenMessage], tools: Sequence[ToolSpec], choice: Choice) -> str:
        """The prompt up to where the assistant speaks. `choice` is what the template is told besides, such as
        `enable_thinking`. Raises InvalidInput with the template's words where it takes no such conversation."""
        given: dict[str, object] = {
            **self._tokens,
            **choice,
            "messages": messages,
            "tools": [_tool(tool) for tool in tools] or None,
            "add_generation_prompt": True,
        }
        try:
            return self._template(tools).render(given)
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise InvalidInput(f"its chat template refused the conversation: {error}") from error

    def _template(self, tools: Sequence[ToolSpec]) -> Template:
        fitting = (WITH_TOOLS, WITHOUT_TOOLS) if tools else (WITHOUT_TOOLS, WITH_TOOLS)
        return next(self._templates[name] for name in fitting if name in self._templates)


def written_messages(messages: Sequence[Message], reasoning_field: str) -> list[WrittenMessage]:
    """A transcript as templates read it: arguments are objects. What was thought in this turn stands beside."""
    written = [_message(message) for message in messages]
    for place, thought in thoughts_of_turn(messages).items():
        written[place][reasoning_field] = thought
    return written


def _message(message: Message) -> WrittenMessage:
    written: WrittenMessage = {"role": ROLES[message.role], "content": plain(message.content)}
    if message.tool_calls:
        written["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.role == ROLE_TOOL:
        written.update(name=message.name, tool_call_id=message.tool_call_id)
    return written


def _call(call: ToolCall) -> JsonObject:
    try:
        arguments = json_object(plain(call.arguments).encode())
    except Malformed:
        arguments = NOTHING
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _tool(tool: ToolSpec) -> JsonObject:
    schema: object = orjson.loads(tool.parameters_json or '{"type":"object","properties":{}}')
    function: JsonObject = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", "function": function}


def _configuration(file: Path) -> JsonObject:
    try:
        return json_object(file.read_bytes())
    except FileNotFoundError:
        return {}
    except Malformed as error:
        raise InvalidInput(f"its {file.name} is no JSON object") from error


def _sources(folder: Path, configuration: JsonObject) -> dict[str, str]:
    """Each template by its name. A file of its own goes before what the tokenizer's configuration holds."""
    file = folder / TEMPLATE_FILE
    if file.exists():
        return {WITHOUT_TOOLS: file.read_text(encoding="utf-8")}
    held = configuration.get("chat_template")
    if isinstance(held, str):
        return {WITHOUT_TOOLS: held}
    entries = [as_object(entry) for entry in as_list(held)]
    named = {as_text(entry.get("name")): as_text(entry.get("template")) for entry in entries}
    found = {name: source for name, source in named.items() if name in {WITH_TOOLS, WITHOUT_TOOLS}}
    if not found:
        raise InvalidInput(f"it has no chat template: neither {TEMPLATE_FILE} nor chat_template in {TOKENIZER_FILE}")
    return found


def _token(value: object) -> str:
    """A special token, which stands as text or as an object with its content."""
    return as_text(value) or as_text(as_object(value).get("content"))


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse  # pyright: ignore[reportArgumentType] - jinja2 takes any object
    environment.globals["strftime_now"] = _now  # pyright: ignore[reportArgumentType] - jinja2 takes any object
    return environment


def _json(value: object, indent: int | None = None) -> str:
    """JSON for a prompt: Jinja2's own filter escapes it for HTML."""
    return json.dumps(cast("JsonObject", value), ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
