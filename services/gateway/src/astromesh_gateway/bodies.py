"""What callers send, by Pydantic, and how a body is read: bounded, UTF-8, JSON. What it means, the routes know."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect

from astromesh.v1.values_pb2 import Image
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.problems import Problem, dotted
from astromesh_gateway.images import image_of_data, image_of_url

MAX_BODY_BYTES = 4 << 20
"""Of a request's body without pictures."""

MAX_QUESTION_BYTES = 15 << 20
"""Of the body of a question, or of documents, files in base64 included."""

MOST_MISTAKES = 100
"""Told of one body: each costs more than the text that made it."""

MOST_QUOTES = 1 << 18
"""Quotation marks in a body that is large for its pictures."""

LONG = 1024

Model = TypeVar("Model", bound=BaseModel)
Asked = TypeVar("Asked", bound="Question")


class TooLarge(InvalidInput):
    """The body is over the limit."""


class Unprocessable(InvalidInput):
    """The body is JSON, and says what cannot be: each reason with its place."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in problems))


class Body(BaseModel):
    """A request's body. Unknown fields are refused, never ignored."""

    # What callers say is different every time: cached, it would only stay in memory after them.
    model_config = ConfigDict(extra="forbid", cache_strings="keys")


class ImageBody(Body):
    """A picture: its https address, or the file itself. A `data:` URL holds both media type and file."""

    url: str = ""
    media_type: str = Field(default="", examples=["image/png"])
    data: str = Field(default="", description="The file in base64.")
    detail: Literal["auto", "low", "high"] = Field(
        default="auto", description="How closely the model is to look, where it takes that."
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if bool(self.url) == bool(self.data):
            raise PydanticCustomError("image", "needs either url, or data with its media_type")
        return self


class Question(Body):
    """A body that may hold pictures or other files, which count apart from the rest of it."""

    def picture_characters(self) -> int:
        """How much of the body they are."""
        return 0


class RunBody(Question):
    """A question to an agent."""

    query: str = Field(min_length=1, description="The question.", examples=["How does Astromesh survive a crash?"])
    session_id: str = Field(
        default="", max_length=512, description="Continues a conversation. Missing: a new private session."
    )
    user: str = Field(default="", max_length=512, description="Whom the content is about, as you name them.")
    context: dict[str, JsonValue] = Field(default_factory=dict, description="Variables for the agent's prompt.")
    images: Annotated[list[ImageBody], FailFast()] = Field(
        default_factory=list[ImageBody],
        description="Pictures that go with the question: at most 16, together at most 10 MB.",
    )
    output_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema that the answer has to match; `data` is then the answer, parsed."
    )
    cancel_on_disconnect: bool = Field(
        default=False, description="Cancel the run when this connection ends before the run does."
    )

    def picture_characters(self) -> int:
        """See Question."""
        return sum(len(image.url) + len(image.data) for image in self.images)


class ResolveBody(Body):
    """What became of a step whose outcome is unknown."""

    path: str = Field(description="The step.", examples=["2.1"])
    outcome: Literal["succeeded", "failed"]
    result: str = Field(default="", description="What the tool would have answered, or why it failed.")


class CancelBody(Body):
    """Why a run is cancelled."""

    reason: str = Field(default="", max_length=1000)


class FeedbackBody(Body):
    """How good a run was."""

    rating: Literal[-1, 0, 1] = Field(description="1 good, -1 bad, 0 neither.")
    comment: str = Field(default="", max_length=4_000, description="Why.", examples=["named the right order"])


class ToolCallBody(Body):
    """One call of a tool, outside any run."""

    tool_name: str = Field(examples=["add"])
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    agent: str = Field(
        default="", description="Whose tool; may be left out where only one agent has a tool of the name."
    )


class IngestDocument(Body):
    """A document given in the request: a text, or a file in base64."""

    source: str = Field(min_length=1, description="Names it: the same source replaces what it was.")
    text: str = ""
    data: str = Field(default="", description="A file in base64, instead of a text.")
    media_type: str = Field(
        default="",
        description="Of the file. Missing: by the ending of its source.",
        examples=["application/pdf"],
    )
    metadata: dict[str, str | int | float | bool] = Field(
        default_factory=dict[str, str | int | float | bool], description="What filters see of it."
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.text and self.data:
            raise PydanticCustomError("document", "is either a text or a file")
        if self.media_type and not self.data:
            raise PydanticCustomError("document", "has a media_type and no file of it")
        return self


class IngestBody(Question):
    """What a pipeline takes in: the documents given, else its own sources; and which of those given go."""

    pipeline: str
    documents: Annotated[list[IngestDocument], FailFast()] = Field(default_factory=list[IngestDocument])
    removed: Annotated[list[str], FailFast()] = Field(
        default_factory=list[str], description="Sources of documents that requests brought, to be removed."
    )

    def picture_characters(self) -> int:
        """See Question: files too are large strings of base64."""
        return sum(len(document.data) for document in self.documents)


class RagQueryBody(Body):
    """A question to a pipeline."""

    pipeline: str
    query: str = Field(min_length=1)
    top_k: Annotated[int, Field(ge=0, le=1000)] = Field(default=0, description="0: the pipeline's own.")
    filter: dict[str, JsonValue] = Field(
        default_factory=dict[str, JsonValue],
        description="Only passages whose metadata meets it: keys with values, or with $ne, $in, $nin, $gt, $gte, $lt, "
        "$lte, $exists; $and, $or, $not.",
        examples=[{"team": "support", "year": {"$gte": 2024}}],
    )


def images_of(body: RunBody) -> tuple[Image, ...]:
    """The pictures of a question, unchecked."""
    return tuple(
        image_of_url(image.url, image.detail)
        if image.url
        else image_of_data(image.media_type, image.data, image.detail)
        for image in body.images
    )


def schema_text(schema: dict[str, JsonValue] | None) -> str:
    """A schema as JSON text, its properties in the caller's order; empty for none.

    Raises InvalidInput for a whole number of more than 64 bits.
    """
    try:
        return "" if schema is None else orjson.dumps(schema).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"output_schema cannot be taken: {error}") from error


async def read_bytes(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises TooLarge beyond so many bytes, without reading on."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the body has {declared} bytes; at most {limit} are read")
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        # Not request.stream(): a generator for the one message that a body mostly is.
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size, more = size + len(part), message.get("more_body", False)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def left(request: Request) -> None:
    """Returns once whoever asked is gone. Only after the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_question(request: Request, model: type[Asked]) -> Asked:
    """The body, which may hold pictures, as a model. Raises InvalidInput for what is no JSON, Unprocessable for what
    does not fit, TooLarge."""
    return parse_question(await read_bytes(request, MAX_QUESTION_BYTES), model)


def parse_question(data: bytes | str, model: type[Asked]) -> Asked:
    """Text as a model that may hold pictures. Raises as `parse_body`, and TooLarge for what is large without them."""
    # Before it is parsed, whatever may be a picture counts as one: small values take a hundred times the memory then.
    _check_beside(len(data) - _long_strings(data))
    body = parse_body(data, model)
    _check_beside(len(data) - body.picture_characters())
    return body


def _check_beside(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {size} bytes beside its files; at most {MAX_BODY_BYTES} are read")


def _long_strings(data: bytes | str) -> int:
    """How much of a body is strings of a picture's length; none is looked for where there is no need."""
    if len(data) <= MAX_BODY_BYTES:
        return 0
    # One byte a character, and for bytes no copy.
    raw = data if isinstance(data, bytes) else data.encode()
    if raw.count(b'"') > MOST_QUOTES:
        return 0
    # Between two strings there may be a long list of short values, which has commas; a `data:` URL has one.
    return sum(len(each) for each in raw.split(b'"') if len(each) >= LONG and each.count(b",") <= 1)


def parse_body(data: bytes | str, model: type[Model]) -> Model:
    """Text as a model. Raises InvalidInput for what is no JSON in UTF-8, Unprocessable for what does not fit."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        if error.error_count() > MOST_MISTAKES:
            raise InvalidInput(f"the body has {error.error_count()} mistakes: compare it with /openapi.json") from None
        details = error.errors(include_url=False, include_context=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise InvalidInput(f"the body is not JSON in UTF-8: {details[0]['msg']}") from None
        raise Unprocessable(
            [Problem("", 0, dotted(detail["loc"]), detail["msg"], code=detail["type"]) for detail in details]
        ) from None
