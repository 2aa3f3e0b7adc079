"""OpenAI's chat completion as clients ask for it, as far as an agent has a use for it.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue
from typing_extensions import TypeAliasType

from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Image,
    Message,
    Role,
    ToolCall,
)
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_gateway.bodies import Question, schema_text
from astromesh_gateway.images import image_of_url

_ROLES: dict[str, Role.ValueType] = {
    "system": ROLE_SYSTEM,
    "developer": ROLE_SYSTEM,
    "user": ROLE_USER,
    "assistant": ROLE_ASSISTANT,
    "tool": ROLE_TOOL,
}

ANY_OBJECT = '{"type":"object"}'
"""The schema of `json_object`."""

DECIDED_BY_THE_AGENT = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "store",
    "parallel_tool_calls",
)
"""Taken, because clients send them unasked, and without effect: the agent's resource decides. A header names them."""


class TextPart(BaseModel):
    """A part of a message: text."""

    type: Literal["text"]
    text: str


class ImageAddress(BaseModel):
    """Where a picture is: an https address, or a `data:` URL that holds it."""

    model_config = ConfigDict(extra="forbid")

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(BaseModel):
    """A part of a message: a picture."""

    type: Literal["image_url"]
    image_url: ImageAddress


class NamedSchema(BaseModel):
    """A schema that the answer has to match. It always has to, whatever `strict` says."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = ""
    description: str = ""
    body: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(BaseModel):
    """The answer is JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class PlainFormat(BaseModel):
    """The answer is a JSON object of any shape, or what the agent declares."""

    type: Literal["json_object", "text"]


class FunctionCall(BaseModel):
    """What was to be called."""

    name: str
    arguments: str


class ChatToolCall(BaseModel):
    """A call that an assistant asked for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


ContentParts = TypeAliasType(
    "ContentParts", Annotated[list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], FailFast()]
)
ToolCalls = TypeAliasType("ToolCalls", Annotated[list[ChatToolCall], FailFast()])


class ChatMessage(BaseModel):
    """One message of the transcript."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | ContentParts | None = None
    tool_calls: ToolCalls | None = None
    tool_call_id: str = ""
    name: str = ""

    def image_parts(self) -> list[ImagePart]:
        """The pictures of its content."""
        parts = self.content if isinstance(self.content, list) else []
        return [part for part in parts if isinstance(part, ImagePart)]


class StreamOptions(BaseModel):
    """What a stream tells besides the text."""

    include_usage: bool = False


class ChatBody(Question):
    """A chat completion. What would change the answer's form and is not built is refused."""

    model: str = Field(description="The agent.", examples=["docs-agent"])
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    user: str = ""
    session_id: str = Field(default="", description="Ours: reads and writes the session's memory.")
    metadata: dict[str, str] | None = None
    response_format: Annotated[SchemaFormat | PlainFormat, Field(discriminator="type")] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None

    def without_effect(self) -> list[str]:
        """The fields given that the agent's resource decides."""
        return [name for name in DECIDED_BY_THE_AGENT if getattr(self, name) is not None]

    def picture_characters(self) -> int:
        """See Question."""
        parts = [part for message in self.messages for part in message.image_parts()]
        return sum(len(part.image_url.url) for part in parts)

    def output_schema_json(self) -> str:
        """The schema that the request brings for the answer; empty for none."""
        if isinstance(self.response_format, SchemaFormat):
            return schema_text(self.response_format.json_schema.body)
        wants_json = self.response_format is not None and self.response_format.type == "json_object"
        return ANY_OBJECT if wants_json else ""


def split_transcript(messages: list[ChatMessage]) -> tuple[Message, tuple[Message, ...]]:
    """The question, which is the last message, and the turns before it. Raises InvalidInput where nobody asks."""
    *earlier, last = messages
    if last.role != "user":
        raise InvalidInput(f"the last message is the {last.role}'s: it must be the user's, which is the question")
    return _message(last), tuple(_message(message) for message in earlier)


def _message(message: ChatMessage) -> Message:
    return Message(
        role=_ROLES[message.role],
        content=text_content(_text(message)),
        images=_images(message),
        tool_calls=[
            ToolCall(id=call.id, name=call.function.name, arguments=text_content(call.function.arguments))
            for call in message.tool_calls or ()
        ],
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _text(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


def _images(message: ChatMessage) -> list[Image]:
    images = [image_of_url(part.image_url.url, part.image_url.detail) for part in message.image_parts()]
    if images and message.role != "user":
        raise InvalidInput(f"a message of the {message.role}'s has pictures: only the user's may")
    return images
