"""Arguments of a call: their JSON Schema, of a function's signature or as given; the check against it; the values."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PydanticUserError, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from astromesh_core.call_arguments import checked_arguments
from astromesh_core.checked_schema import CheckedSchema
from astromesh_core.errors import InvalidInput
from astromesh_tools.docstrings import read_docstring

IDEMPOTENCY_KEY: Final = "idempotency_key"
"""A parameter of this name is ours to fill: no model sees it."""

_MOST_PROBLEMS = 5

Arguments = dict[str, object]
"""Keyword arguments for a users' function."""


class ArgumentsSchema:
    """A JSON Schema of type object, compiled, that arguments are checked against.

    Raises InvalidInput where the schema itself is none.
    """

    def __init__(self, schema: Mapping[str, JsonValue]) -> None:
        self.text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS).decode()
        try:
            self._schema = CheckedSchema(schema)
        except InvalidInput as error:
            raise InvalidInput(f"the schema of the parameters {error.message}") from error

    @classmethod
    def of_text(cls, schema: str) -> Self:
        """The schema that a catalogue holds as JSON text."""
        return cls(orjson.loads(schema))

    def read(self, text: str) -> dict[str, JsonValue]:
        """Returns the arguments. Raises InvalidInput that tells the model exactly what is wrong, and where."""
        return checked_arguments(text, self._schema)


class Signature:
    """What a function takes: its schema, and the conversion of checked JSON to the types that it declares."""

    def __init__(self, function: Callable[..., object], name: str) -> None:
        parameters = inspect.signature(function).parameters
        documented = read_docstring(inspect.getdoc(function) or "")
        self.description = documented.summary
        self.takes_key = IDEMPOTENCY_KEY in parameters
        self._names: dict[str, str] = {}
        self._model = self._build(function, name, parameters, documented.parameters)
        try:
            schema: dict[str, JsonValue] = self._model.model_json_schema(schema_generator=_Untitled)
        except PydanticUserError as error:
            raise InvalidInput(f"{name}: a parameter has a type that JSON cannot hold: {error.message}") from error
        schema.pop("title", None)
        self.schema = schema

    def convert(self, arguments: dict[str, JsonValue]) -> Arguments:
        """Returns keyword arguments of the declared types; those left out stay out, for the function's own defaults.

        Raises InvalidInput where a value fits the schema and not the type.
        """
        try:
            values = self._model.model_validate(arguments)
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:_MOST_PROBLEMS])
            raise InvalidInput(f"the arguments do not fit: {'; '.join(problems)}") from error
        given = values.model_fields_set & self._names.keys()
        converted: Arguments = {self._names[field]: getattr(values, field) for field in given}
        return converted | (values.model_extra or {})

    def _build(
        self,
        function: Callable[..., object],
        name: str,
        parameters: Mapping[str, inspect.Parameter],
        described: Mapping[str, str],
    ) -> type[BaseModel]:
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError) as error:
            raise InvalidInput(f"{name}: its type hints cannot be read: {error}") from error
        fields: dict[str, Any] = {}
        extra: typing.Literal["forbid", "allow"] = "forbid"
        for parameter in parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                extra = "allow"
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise InvalidInput(f"{name}: {parameter} cannot be given by name, and models give parameters by name")
            elif parameter.name != IDEMPOTENCY_KEY:
                # Fields are numbered: a parameter may be called like something that models of pydantic have.
                field = f"parameter_{len(fields)}"
                self._names[field] = parameter.name
                fields[field] = (hints.get(parameter.name, Any), _field(parameter, described.get(parameter.name)))
        try:
            return create_model("Parameters", __config__=ConfigDict(extra=extra), **fields)
        except PydanticUserError as error:
            raise InvalidInput(f"{name}: a parameter has a type that JSON cannot hold: {error.message}") from error


def _field(parameter: inspect.Parameter, description: str | None) -> FieldInfo:
    default: Any = ... if parameter.default is parameter.empty else parameter.default
    field: FieldInfo = Field(default, alias=parameter.name, description=description)
    return field


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from names: tokens that tell a model nothing."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        return made

    def emit_warning(self, kind: object, detail: str) -> None:
        """A default that JSON cannot hold is left out of the schema, silently: the function has it."""
