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
MOST_STEPS: Final = 20
"""References to references, one after the other."""
METHODS: Final = ("get", "put", "post", "delete", "patch")
"""Of HTTP, those that a tool sends."""

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
        value: object = (
            orjson.loads(data) if data.lstrip().startswith(b"{") else yaml.load(data.decode(), Loader=_Loader)
        )
    except (orjson.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        # What stands there is not quoted: the file may be another one than is meant.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(f"is neither JSON nor YAML{where}") from error
    if not isinstance(value, dict):
        raise InvalidInput("is no object")
    return cast("Object", value)
