"""Tools that are HTTP endpoints: what is sent where, and what of the answer a model reads. Calling is the tools
service's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.headers import HEADER, SET_BY_ITSELF, check_headers
from astromesh_core.resources.placeholders import Arguments, names
from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Spec, shaped
from astromesh_core.resources.urls import HttpAddress

BODILESS: Final = frozenset(("GET", "DELETE"))
_OURS: Final = SET_BY_ITSELF | {"idempotency-key"}


def selection(path: str) -> Callable[[JsonValue], JsonValue]:
    """Reads out of a value what a JSONPath finds: of a path to one place its value, null where there is none; else the
    list of all. Raises ValueError, with the reason, for what is no JSONPath of RFC 9535; so does the function for a
    value that it cannot be asked of.

    `match` and `search` are left out: a regular expression can hold a process for hours.
    """
    # Few resources hold one, and reading the language costs as much as reading a mesh of resources.
    import jsonpath

    environment = jsonpath.JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        environment.function_extensions.pop(name, None)
    try:
        query = environment.compile(path)
    except jsonpath.JSONPathError as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    one = isinstance(query, jsonpath.JSONPath) and query.singular_query()

    def select(value: JsonValue) -> JsonValue:
        try:
            found = cast("list[JsonValue]", query.findall(cast("dict[str, object]", value)))
        except jsonpath.JSONPathError as error:
            raise ValueError(str(error).partition("\n")[0]) from error
        return (found[0] if found else None) if one else found

    return select


class BearerAuth(Spec):
    """`Authorization: Bearer …` (RFC 6750)."""

    type: Literal["bearer"]
    token: Secret


class BasicAuth(Spec):
    """`Authorization: Basic …` (RFC 7617)."""

    type: Literal["basic"]
    username: str = Field(min_length=1)
    password: Secret


class HeaderAuth(Spec):
    """A key in a header of the endpoint's own."""

    type: Literal["header"]
    name: Annotated[str, shaped(HEADER.pattern, "the name of a header", "X-Api-Key")]
    value: Secret


Auth = Annotated[BearerAuth | BasicAuth | HeaderAuth, Field(discriminator="type")]


class Answer(Spec):
    """What of an answer the model reads."""

    select: str | None = None
    """A JSONPath (RFC 9535): of one place its value, else the list of all that it finds. None: everything."""

    @field_validator("select")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                selection(value)
        except ValueError as error:
            raise PydanticCustomError("jsonpath", "is no JSONPath: {reason}", {"reason": str(error)}) from error
        return value


class Webhook(Spec):
    """What a webhook tool says of its endpoint. Places such as `{{ city }}` are filled by the call's arguments."""

    endpoint: HttpAddress
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Values may hold `${NAME}` of the environment; arguments never reach a header."""
    query: dict[str, str | int | float | bool] = Field(default_factory=dict[str, str | int | float | bool])
    body: JsonValue = None
    """None: the arguments themselves, as JSON; of GET and DELETE, which have no body, as the query."""
    auth: Auth | None = None
    response: Answer = Answer()
    allow_private: bool = False
    """Whether the endpoint may lie inside the network: on this machine, in a private range, at a cloud's metadata."""

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value, _OURS)
        return value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.body is not None and self.method in BODILESS:
            hint = "declare query, or another method"
            raise PydanticCustomError(
                "unused", "has a body, and {method} sends none", {"method": self.method, "hint": hint}
            )
        parts = urlsplit(self.endpoint)
        if "{{" in parts.scheme + parts.netloc:
            hint = "a call's arguments may fill the path, the query and the body"
            raise PydanticCustomError("placeholder", "lets a call choose the host", {"hint": hint})
        authorized = {name.lower() for name in self.headers}
        own = "authorization" if not isinstance(self.auth, HeaderAuth) else self.auth.name.lower()
        if self.auth is not None and own in authorized:
            raise PydanticCustomError("auth", "has both auth and the header {name}", {"name": own})
        return self

    def with_defaults(self, arguments: Mapping[str, JsonValue], parameters: Mapping[str, JsonValue]) -> Arguments:
        """The arguments, and the declared default of each that is left out."""
        properties = parameters.get("properties")
        known = properties if isinstance(properties, dict) else {}
        defaults = {
            name: each["default"] for name, each in known.items() if isinstance(each, dict) and "default" in each
        }
        return {**defaults, **arguments}

    def check_places(self, parameters: Mapping[str, JsonValue]) -> None:
        """Raises PydanticCustomError for a place that names no parameter, or one of the path's that may be left out."""
        properties, required = parameters.get("properties"), parameters.get("required") or []
        known = properties if isinstance(properties, dict) else {}
        query: dict[str, JsonValue] = {**self.query}
        for place in (self.endpoint, query, self.body):
            for name in names(place):
                if name not in known:
                    hint = f"parameters are {', '.join(known) or 'none'}"
                    raise PydanticCustomError(
                        "placeholder", "names the parameter {name}, which there is not", {"name": name, "hint": hint}
                    )
        for name in names(self.endpoint):
            schema = known[name]
            has_default = isinstance(schema, dict) and "default" in schema
            if not has_default and (not isinstance(required, list) or name not in required):
                context = {"name": name, "hint": f"add required: [{name}] to parameters, or a default"}
                raise PydanticCustomError("placeholder", "needs {name} in its address, which may be left out", context)
