"""What callers send, by Pydantic, and how a body is read: bounded, UTF-8, JSON. What it means, the routes know."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.requests import ClientDisconnect

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.problems import Problem, dotted

MAX_BODY_BYTES = 4 << 20
"""Of any request's body."""

Model = TypeVar("Model", bound=BaseModel)


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


class RunBody(Body):
    """A question to an agent."""

    query: str = Field(min_length=1, description="The question.", examples=["How does Astromesh survive a crash?"])
    session_id: str = Field(
        default="", max_length=512, description="Continues a conversation. Missing: a new private session."
    )
    user: str = Field(default="", max_length=512, description="Whom the content is about, as you name them.")
    context: dict[str, JsonValue] = Field(default_factory=dict, description="Variables for the agent's prompt.")
    cancel_on_disconnect: bool = Field(
        default=False, description="Cancel the run when this connection ends before the run does."
    )


class ResolveBody(Body):
    """What became of a step whose outcome is unknown."""

    path: str = Field(description="The step.", examples=["2.1"])
    outcome: Literal["succeeded", "failed"]
    result: str = Field(default="", description="What the tool would have answered, or why it failed.")


class CancelBody(Body):
    """Why a run is cancelled."""

    reason: str = Field(default="", max_length=1000)


class ToolCallBody(Body):
    """One call of a tool, outside any run."""

    tool_name: str = Field(examples=["add"])
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    agent: str = Field(
        default="", description="Whose tool; may be left out where only one agent has a tool of the name."
    )


class IngestDocument(Body):
    """A document given in the request."""

    source: str = Field(min_length=1, description="Names it: the same source replaces what it was.")
    text: str


class IngestBody(Body):
    """What a pipeline takes in: the documents given, else its own sources."""

    pipeline: str
    documents: list[IngestDocument] = Field(default_factory=list[IngestDocument])


class RagQueryBody(Body):
    """A question to a pipeline."""

    pipeline: str
    query: str = Field(min_length=1)
    top_k: Annotated[int, Field(ge=0, le=1000)] = Field(default=0, description="0: the pipeline's own.")


async def read_bytes(request: Request) -> bytes:
    """The whole body. Raises TooLarge beyond 4 MB without reading on."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {declared} bytes; at most {MAX_BODY_BYTES} are read")
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        # Not request.stream(): a generator for the one message that a body mostly is.
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size, more = size + len(part), message.get("more_body", False)
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"the body has more than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The body as a model. Raises InvalidInput for what is no JSON, Unprocessable for what does not fit, TooLarge."""
    return parse_body(await read_bytes(request), model)


def parse_body(data: bytes | str, model: type[Model]) -> Model:
    """Text as a model. Raises InvalidInput for what is no JSON in UTF-8, Unprocessable for what does not fit."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise InvalidInput(f"the body is not JSON in UTF-8: {details[0]['msg']}") from None
        raise Unprocessable(
            [Problem("", 0, dotted(detail["loc"]), detail["msg"], code=detail["type"]) for detail in details]
        ) from None
