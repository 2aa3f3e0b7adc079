"""How a reply that matches a JSON Schema is asked for: in the vendor's field, and in words where its grammar cannot.

Pure. Which vendor takes which form is in `profiles`; whether a reply matches is judged by the run's pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.dialects.decoding import JsonObject, as_list, as_object

ANY_OBJECT: JsonObject = {"type": "object"}
"""The schema of a request that wants JSON of no certain shape."""

NAME = "answer"
"""Vendors want a name for a schema; nobody reads it."""

STRICT_KEYWORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"}
)
STRICT_NOTES = frozenset({"title", "description"})

Written = Mapping[str, object]
SchemaForm = Callable[[JsonObject], Written]
"""The fields of a request that ask for a schema."""


def openai_form(schema: JsonObject) -> Written:
    """OpenAI's `response_format`. Strict only where the schema keeps to the subset that strict mode takes.

    Source: OpenAI, "Structured model outputs", supported schemas.
    """
    if schema == ANY_OBJECT:
        return object_form(schema)
    described = {"name": NAME, "schema": schema, "strict": is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def object_form(schema: JsonObject) -> Written:
    """JSON of any shape: the schema itself is asked for in words."""
    del schema
    return {"response_format": {"type": "json_object"}}


def llamacpp_form(schema: JsonObject) -> Written:
    """The form that llama-server and llama-cpp-python share. Source: llama.cpp, tools/server/README.md."""
    return {"response_format": {"type": "json_object", "schema": schema}}


def tgi_form(schema: JsonObject) -> Written:
    """TGI's grammar. Source: Text Generation Inference documentation, "Guidance"."""
    return {"response_format": {"type": "json_object", "value": schema}}


def ollama_form(schema: JsonObject) -> Written:
    """Source: Ollama documentation, "Structured outputs"."""
    return {"format": "json" if schema == ANY_OBJECT else schema}


def anthropic_form(schema: JsonObject) -> Written:
    """Nothing for a schema beyond the subset that its grammar takes. Source: Claude API, "Structured outputs"."""
    if not is_strict(schema):
        return {}
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def onnx_form(schema: JsonObject) -> Written:
    """The schema for the grammar, which is told to write it as models do: without it a weak one fills it with blanks.

    Source: llguidance, docs/json_schema.md, "x-guidance".
    """
    written = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return {"grammar": {**schema, "x-guidance": written}}


def no_form(schema: JsonObject) -> Written:
    """Nothing: the schema is asked for in words alone."""
    del schema
    return {}


def wanted_schema(request: CompleteRequest) -> JsonObject | None:
    """The schema that the reply's text has to match; None for free text."""
    if not request.output_schema_json:
        return None
    return cast(JsonObject, orjson.loads(request.output_schema_json))


def in_words(schema: JsonObject) -> str:
    """What a system message says of the schema."""
    if schema == ANY_OBJECT:
        return "Your final answer must be one JSON object and nothing else: no code fence, no text around it."
    text = orjson.dumps(schema).decode()
    return (
        "Your final answer must be JSON that matches this JSON Schema, and nothing else: no code fence, no text around"
        f" it.\n{text}"
    )


def is_strict(schema: JsonObject) -> bool:
    """Whether every object in a schema is closed and has all its properties required, with no keyword beyond those that
    strict mode knows for certain."""
    if set(schema) - STRICT_KEYWORDS - STRICT_NOTES:
        return False
    properties = as_object(schema.get("properties"))
    if schema.get("type") == "object" or properties:
        closed = schema.get("additionalProperties") is False
        if not closed or set(properties) != set(as_list(schema.get("required"))):
            return False
    inner: list[object] = [*properties.values(), *as_list(schema.get("anyOf"))]
    if "items" in schema:
        inner.append(schema["items"])
    return all(isinstance(each, dict) and is_strict(cast(JsonObject, each)) for each in inner)
