"""JSON Schemas in resources: written as mappings or as JSON, kept as JSON text."""

from __future__ import annotations

from typing import Annotated

import orjson
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from astromesh_core.answers import answer_schema
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.spelling import is_mapping


def _schema_text(value: object) -> object:
    if not is_mapping(value) and not isinstance(value, str):
        return value
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    try:
        answer_schema(text)
    except InvalidInput as error:
        raise PydanticCustomError("schema", "{told}", {"told": error.message}) from error
    return text


AnswerSchemaText = Annotated[str, BeforeValidator(_schema_text)]
"""A JSON Schema, written as a mapping or as JSON; kept as JSON text, for models write properties in the schema's order.
"""
