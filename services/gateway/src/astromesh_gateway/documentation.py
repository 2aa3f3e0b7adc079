"""What OpenAPI says beyond the routes' types: answers, errors, and bodies of the routes that read theirs by hand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from astromesh_gateway.bodies import IngestBody, RunBody
from astromesh_gateway.replies import RunReply
from astromesh_gateway.routes.openai_requests import ChatBody

Extra = dict[str, Any]
"""A piece of an OpenAPI document, as FastAPI wants it."""

HAND_READ: tuple[type[Any], ...] = (RunBody, ChatBody, IngestBody, RunReply)
"""Types that routes read and write by hand."""

_COMPONENTS = "#/components/schemas/{model}"

_PROBLEM: Extra = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "run_id": {"type": "string"},
        "retry_after": {"type": "number", "description": "Seconds."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "Each reason, with its place."},
    },
}

RUN_EXAMPLE: Extra = {
    "run_id": "17-mfrggzdfmztwq2lknnwg23tpoa",
    "session_id": "tuesday",
    "agent": "docs-agent",
    "status": "completed",
    "answer": "Every step is an event in the log, so a run goes on where it stopped.",
    "steps": [
        {"path": "1", "kind": "model", "name": "llama3", "status": "succeeded", "finish_reason": "tool_calls"},
        {
            "path": "2.1",
            "kind": "tool",
            "name": "search_docs",
            "status": "succeeded",
            "input": '{"query": "crash"}',
            "output": "…",
        },
    ],
    "usage": {
        "input_tokens": 310,
        "output_tokens": 42,
        "cached_input_tokens": 0,
        "cache_written_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": False,
        "cost_usd": 0.0,
    },
    "sources": [
        {
            "id": "9f2c",
            "source": "docs/durability.md",
            "start": 0,
            "end": 180,
            "headings": ["Durability"],
            "text": "…",
            "score": 0.82,
        }
    ],
    "cost": 0.0,
    "finish_reason": "stop",
}

STREAM_EXAMPLE = (
    'event: step\nid: 1\ndata: {"run_id":"17-mfrg…","index":1,"event":"started","status":"running"}\n\n'
    'event: token\ndata: {"run_id":"17-mfrg…","text":"Every step","path":"1"}\n\n'
    'event: done\nid: 8\ndata: {"run_id":"17-mfrg…","status":"completed","answer":"Every step …"}\n\n'
)


def errors(*statuses: int) -> dict[int | str, Extra]:
    """Problem documents under these statuses, besides those that every route may answer."""
    content = {"application/problem+json": {"schema": {"$ref": _COMPONENTS.format(model="Problem")}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in (401, 403, *statuses)}


_MEANINGS = {
    400: "What was sent is wrong.",
    401: "A key is missing or wrong.",
    402: "A budget is spent; `detail` says whose, and when it resets, and so does Retry-After.",
    403: "The key may not do this.",
    404: "There is no such thing in this namespace.",
    409: "It exists with other content, is managed elsewhere, or its agent is not ready.",
    413: "The body is over 4 MB.",
    422: "The body does not fit; `errors` names each place.",
    429: "The namespace is full; see Retry-After.",
    501: "Uses what is not built or not installed.",
    503: "Something needed is away; see Retry-After.",
    504: "No answer in time.",
}


def json_body(model: type[BaseModel], example: Extra) -> Extra:
    """The body of a route that reads it by hand; one of `HAND_READ`."""
    schema = {"$ref": _COMPONENTS.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def header(name: str, description: str) -> Extra:
    """A header parameter."""
    return {"in": "header", "name": name, "required": False, "schema": {"type": "string"}, "description": description}


def path_parameter(name: str, description: str) -> Extra:
    """A path parameter."""
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string"}, "description": description}


def run_answer(description: str) -> Extra:
    """A run as JSON."""
    schema = {"$ref": _COMPONENTS.format(model="RunReply")}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": RUN_EXAMPLE}}}


def components() -> Extra:
    """The schemas that are referred to here and that no route's types bring along."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (model.__name__, "validation" if issubclass(model, BaseModel) else "serialization", TypeAdapter(model))
        for model in HAND_READ
    ]
    _, schemas = TypeAdapter.json_schemas(inputs, ref_template=_COMPONENTS)
    return {**schemas["$defs"], "Problem": _PROBLEM}
