"""What a call of one operation sends, made of its document: the request with places for arguments, and their schema.
Pure. It is kept with a run that pinned it, so it holds all that a call needs and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.headers import HEADER, SET_BY_ITSELF
from astromesh_core.resources.placeholders import names
from astromesh_core.resources.problems import did_you_mean
from astromesh_tools.openapi.documents import Document, Object, as_object
from astromesh_tools.openapi.schemas import Schemas

BODY: Final = "body"
"""The argument that is the request's body."""
LONGEST_DESCRIPTION: Final = 4_000

_PLACES: Final = ("path", "query", "header", "cookie")
_OURS: Final = SET_BY_ITSELF | {"accept", "content-type", "authorization", "idempotency-key"}
"""Headers that OpenAPI has ignored as parameters, and those that are set by themselves."""
_STYLES: Final = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_BODILESS: Final = ("GET", "DELETE")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_TEMPLATE: Final = re.compile(r"\{([^{}]+)\}")
_LITERAL: Final = "/-._~!&'()*+,;=:@%"
"""What of a path stays as it is: no `$` and no brace, which would be places of ours."""


class Place(BaseModel):
    """Where an argument goes: in the query or in a header, under which name."""

    model_config = ConfigDict(frozen=True)

    argument: str
    name: str
    joined_by: str = ""
    """Between the entries of a list; "": each under the name by itself."""
    deep: bool = False
    """An object's fields each by themselves: `filter[name]=…`."""


class OperationCall(BaseModel):
    """One operation, ready to be called."""

    model_config = ConfigDict(frozen=True)

    operation: str
    """As the file names it."""
    method: Literal["GET", "PUT", "POST", "DELETE", "PATCH"]
    server: str
    """The document's own address for it; "" where it has none."""
    path: str
    """With `{{ argument }}` for each part that a call fills."""
    query: tuple[Place, ...]
    headers: tuple[Place, ...]
    media_type: str
    """Of the body; "" where there is none."""
    description: str
    parameters: dict[str, JsonValue]

    @property
    def in_path(self) -> list[str]:
        """The arguments that fill the path."""
        return list(names(self.path))

    def to_json(self) -> bytes:
        """In one way for each operation: its hash tells it apart."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def find(document: Document, name: str) -> OperationCall:
    """The operation by its `operationId`, or as `GET /pets/{id}`. Raises InvalidInput, with the reason."""
    known: list[str] = []
    for method, path, item, operation in document.operations():
        called = operation.get("operationId")
        both = [f"{method} {path}", *([called] if isinstance(called, str) else [])]
        if name in both:
            try:
                return _Reading(document, name).of(method, path, item, operation)
            except InvalidInput as error:
                raise InvalidInput(f"the operation {name}: {error.message}") from error
        known.append(both[-1])
    hint = did_you_mean(name, known) or f"it has {', '.join(known[:20]) or 'none'}{' …' if len(known) > 20 else ''}"
    raise InvalidInput(f"has no operation {name[:80]!r}; {hint}")


class _Reading:
    """Reads one operation."""

    def __init__(self, document: Document, name: str) -> None:
        self._document = document
        self._name = name
        self._schemas = Schemas(document)
        self._properties: dict[str, JsonValue] = {}
        self._required: list[str] = []

    def of(self, method: str, path: str, item: Object, operation: Object) -> OperationCall:
        """The operation, with what its path says of all of them."""
        given = self._parameters(item, operation)
        parts: dict[str, str] = {}
        query, headers = list[Place](), list[Place]()
        for (place, name), parameter in given.items():
            argument = self._take(place, name, parameter)
            match place:
                case "path":
                    parts[name] = argument
                case "query":
                    query.append(_query_place(argument, name, parameter))
                case _:
                    headers.append(Place(argument=argument, name=name, joined_by=","))
        media_type = self._take_body(method, operation)
        schema: dict[str, JsonValue] = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            schema["required"] = [*self._required]
        if self._schemas.definitions:
            schema["$defs"] = self._schemas.definitions
        return OperationCall.model_validate(
            {
                "operation": self._name,
                "method": method,
                "server": _server(operation, item, self._document),
                "path": _path(path, parts),
                "query": tuple(query),
                "headers": tuple(headers),
                "media_type": media_type,
                "description": _description(operation, f"{method} {path}"),
                "parameters": schema,
            }
        )

    def _parameters(self, item: Object, operation: Object) -> Mapping[tuple[str, str], Object]:
        """Those that a call fills: of the path's item, overridden by the operation's."""
        found: dict[tuple[str, str], Object] = {}
        for owner in (item, operation):
            listed = owner.get("parameters")
            for written in listed if isinstance(listed, list) else []:
                parameter = self._document.resolved(written, "a parameter")
                name, place = parameter.get("name"), parameter.get("in")
                if not isinstance(name, str) or place not in _PLACES:
                    raise InvalidInput("has a parameter without a name, or in no known place")
                found[str(place), name] = parameter
        return {key: parameter for key, parameter in found.items() if self._is_filled(key, parameter)}

    def _is_filled(self, key: tuple[str, str], parameter: Object) -> bool:
        place, name = key
        if place == "header" and name.lower() in _OURS:
            return False
        reason = (
            "in a cookie"
            if place == "cookie"
            else "as a document of its own"
            if "schema" not in parameter and "content" in parameter
            else "in a header of no such name"
            if place == "header" and not HEADER.fullmatch(name)
            else ""
        )
        if reason and parameter.get("required") is True:
            raise InvalidInput(f"needs {name} {reason}, which is not sent")
        return not reason

    def _take(self, place: str, name: str, parameter: Object) -> str:
        argument = self._free(_UNSAFE.sub("_", name).strip("_") or place, place)
        schema = self._schemas.made(parameter.get("schema", {}))
        said = parameter.get("description")
        described = {**as_object(schema), "description": said} if isinstance(said, str) and said else schema
        self._properties[argument] = described
        if parameter.get("required") is True or place == "path":
            self._required.append(argument)
        return argument

    def _take_body(self, method: str, operation: Object) -> str:
        if "requestBody" not in operation:
            return ""
        body = self._document.resolved(operation["requestBody"], "its request body")
        content = as_object(body.get("content"))
        kind = next(filter(_is_json, content), "")
        if not kind or method in _BODILESS:
            if body.get("required") is True:
                kinds = ", ".join(content) or "nothing"
                raise InvalidInput(f"needs a body of {kinds} with {method}: JSON in PUT, POST and PATCH alone is sent")
            return ""
        schema = self._schemas.made(as_object(content[kind]).get("schema", {}))
        said = body.get("description")
        plain = isinstance(said, str) and said and isinstance(schema, dict) and "description" not in schema
        self._properties[BODY] = {**as_object(schema), "description": said} if plain else schema
        if body.get("required") is True:
            self._required.append(BODY)
        return kind

    def _free(self, name: str, place: str) -> str:
        """A name for an argument that no other one has, and that a place of ours can hold."""
        name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
        return f"{name}_{place}" if name in self._properties or name == BODY else name


def _query_place(argument: str, name: str, parameter: Object) -> Place:
    style = str(parameter.get("style", "form"))
    explode = parameter.get("explode", style == "form") is not False
    if style == "deepObject":
        return Place(argument=argument, name=name, deep=True)
    if style not in _STYLES:
        raise InvalidInput(f"writes {name} in the style {style[:40]!r}, which is not known")
    return Place(argument=argument, name=name, joined_by="" if explode and style == "form" else _STYLES[style])


def _path(path: str, arguments: Mapping[str, str]) -> str:
    missing = [name for name in _TEMPLATE.findall(path) if name not in arguments]
    if missing:
        raise InvalidInput(f"has {{{missing[0]}}} in its path and no parameter of that name")
    parts = _TEMPLATE.split(path)
    return "".join(
        f"{{{{ {arguments[part]} }}}}" if index % 2 else quote(part, safe=_LITERAL) for index, part in enumerate(parts)
    )


def _server(operation: Object, item: Object, document: Document) -> str:
    for servers in (operation.get("servers"), item.get("servers"), document.servers):
        if isinstance(servers, list) and servers:
            return _with_defaults(as_object(servers[0]))
    return ""


def _with_defaults(server: Object) -> str:
    variables = as_object(server.get("variables"))

    def default(found: re.Match[str]) -> str:
        value = as_object(variables.get(found[1])).get("default")
        if not isinstance(value, str):
            raise InvalidInput(f"has a server whose {found[1]} has no default")
        return value

    url = server.get("url")
    filled = _TEMPLATE.sub(default, url) if isinstance(url, str) else ""
    if "${" in filled or "{" in filled:
        raise InvalidInput("has a server whose address is none")
    return filled.rstrip("/")


def _description(operation: Object, otherwise: str) -> str:
    said = [text.strip() for text in map(operation.get, ("summary", "description")) if isinstance(text, str)]
    text = "\n\n".join(filter(None, dict.fromkeys(said))) or f"{otherwise}."
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[:LONGEST_DESCRIPTION]} […]"


def _is_json(kind: str) -> bool:
    media = kind.partition(";")[0].strip().lower()
    return media == "application/json" or media.endswith("+json")
