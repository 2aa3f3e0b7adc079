"""OpenAPI documents (3.0 and 3.1): read, and followed by their references. Pure; nothing is fetched here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, cast
from urllib.parse import unquote

import orjson
import yaml
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput

MOST_BYTES: Final = 10 * 1024 * 1024
"""Of a document."""
MOST_VALUES: Final = 1_000_000
"""In a document: an alias in YAML counts each time, for it may stand for a thousand others."""
MOST_LEVELS: Final = 200
MOST_STEPS: Final = 20
"""References to references, one after the other."""
METHODS: Final = ("get", "put", "post", "delete", "patch")
"""Of HTTP, those that a tool sends."""

_LARGEST: Final = 1 << 63
"""Of whole numbers in JSON, with a sign; without one, twice as much."""

Object = Mapping[str, JsonValue]


class Document:
    """One document. Raises InvalidInput, with the reason, for what is none."""

    def __init__(self, data: bytes) -> None:
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._root = _parsed(data)
        version = self._root.get("openapi")
        if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
            told = f"says {version!r}" if version is not None else "has no field openapi"
            raise InvalidInput(f"is no OpenAPI 3.0 or 3.1 document: it {told}")
        if not isinstance(self._root.get("paths"), dict):
            raise InvalidInput("has no paths")
        self.is_3_0 = version.startswith("3.0")

    @property
    def version(self) -> str:
        """The document's own, in its words."""
        return str(as_object(self._root.get("info")).get("version", ""))

    @property
    def servers(self) -> JsonValue:
        """Those of the whole document."""
        return self._root.get("servers")

    def operations(self) -> Iterator[tuple[str, str, Object, Object]]:
        """Every operation: its method, its path, the path's item, and itself."""
        for path, written in as_object(self._root.get("paths")).items():
            item = self.resolved(written, f"paths of {path}")
            for method in METHODS:
                if isinstance(operation := item.get(method), dict):
                    yield method.upper(), path, item, operation

    def resolved(self, value: JsonValue, what: str) -> Object:
        """The object itself, through every reference. Raises InvalidInput, naming `what` it is, where there is none."""
        seen: list[str] = []
        while isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            if reference in seen or len(seen) >= MOST_STEPS:
                raise InvalidInput(f"{what}: {reference[:200]!r} refers to itself")
            seen.append(reference)
            value = self.at(reference)
        if not isinstance(value, dict):
            raise InvalidInput(f"{what}: there is no object")
        return value

    def at(self, reference: str) -> JsonValue:
        """What stands where a reference points (RFC 6901). Raises InvalidInput for one that leads nowhere, or out."""
        if not reference.startswith("#/"):
            raise InvalidInput(f"refers to {reference[:200]!r}, outside the document: put it all into one")
        found: JsonValue = cast("JsonValue", self._root)
        for step in reference[2:].split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise InvalidInput(f"refers to {reference[:200]!r}, which is not in it")
        return found


def as_object(value: JsonValue) -> Object:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


class _Loader(yaml.CSafeLoader):
    """YAML as JSON has it: a date stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _parsed(data: bytes) -> Object:
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"has more than {MOST_BYTES} bytes")
    try:
        value: object = orjson.loads(data) if data.lstrip().startswith(b"{") else _Values().plain(_yaml(data))
    except (orjson.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        # What stands there is not quoted: the file may be another one than is meant.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(f"is neither JSON nor YAML{where}") from error
    if not isinstance(value, dict):
        raise InvalidInput("is no object")
    return cast("Object", value)


def _yaml(data: bytes) -> object:
    text, level = data.decode(), 0
    # Before it is composed: that takes a frame of C for each level.
    for event in yaml.parse(text, Loader=_Loader):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS:
            raise InvalidInput(f"is nested more than {MOST_LEVELS} levels deep")
    try:
        return cast("object", yaml.load(text, Loader=_Loader))
    except ValueError as error:
        # A number or a date that YAML reads and Python has not.
        raise InvalidInput("is no YAML: a value in it is none") from error


class _Values:
    """YAML's values as JSON's: names are texts, and nothing is more than it seems."""

    def __init__(self) -> None:
        self._count = 0

    def plain(self, value: object, level: int = 0) -> JsonValue:
        self._count += 1
        if self._count > MOST_VALUES or level > MOST_LEVELS:
            raise InvalidInput("has more values, or deeper ones, than anybody writes")
        if isinstance(value, dict):
            pairs = cast("dict[object, object]", value).items()
            return {_name(key): self.plain(each, level + 1) for key, each in pairs}
        if isinstance(value, list):
            return [self.plain(each, level + 1) for each in cast("list[object]", value)]
        if isinstance(value, str):
            return value.encode(errors="replace").decode()
        if isinstance(value, int) and not -_LARGEST <= value < 2 * _LARGEST:
            return _rounded(value)
        if value is None or isinstance(value, int | float | bool):
            return value
        raise InvalidInput(f"has a value of YAML's own, {type(value).__name__}")


def _rounded(value: int) -> float:
    """A number that JSON's readers do not take for whole."""
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidInput("has a number that nobody can hold") from error


def _name(key: object) -> str:
    """A key as JSON has it: responses are keyed by numbers."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key).encode(errors="replace").decode()
