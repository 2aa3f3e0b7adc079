"""YAML text to plain values with the line of every node. Safe types only; nothing is known here about resources.

Refused: text over 1 MiB, more than 20,000 nodes (aliases counted as often as they stand), nesting over 64,
duplicate keys, tags, and numbers that JSON cannot carry. Dates stay text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue

from astromesh_core.resources.problems import Problem, dotted

MAX_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 64

_YAML = "tag:yaml.org,2002:"
_SCALARS = ("str", "int", "float", "bool", "null", "timestamp")

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """One document of a file: its value, and the line (from 1) of the key or item at each path."""

    file: str
    value: JsonValue
    lines: dict[Path, int] = field(default_factory=dict[Path, int])


class _Refused(Exception):
    def __init__(self, line: int, path: Path, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.line, self.path, self.reason, self.hint = line, path, reason, hint


def read_documents(text: str | bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """Reads every document of a file, in order, leaving out empty ones. One bad document does not spoil the others.

    A file that is not YAML at all yields no document and one problem.
    """
    try:
        decoded = _decoded(text)
        _check_shape(decoded)
        roots = list(yaml.compose_all(decoded, Loader=yaml.CSafeLoader))
    except _Refused as refused:
        return [], [_problem(file, refused)]
    except yaml.YAMLError as error:
        return [], [_not_yaml(file, error)]
    documents: list[Document] = []
    problems: list[Problem] = []
    for root in roots:
        document = Document(file, None)
        try:
            value = _Reader(document.lines).read(root, ())
        except _Refused as refused:
            problems.append(_problem(file, refused))
            continue
        if value is not None:
            documents.append(Document(file, value, document.lines))
    return documents, problems


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        raise _Refused(0, (), f"is larger than {MAX_BYTES} bytes")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused(text[: error.start].count(b"\n") + 1, (), "is not UTF-8 text") from error


def _check_shape(text: str) -> None:
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            limit = f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            raise _Refused((event.start_mark.line + 1 if event.start_mark else 1), (), f"is {limit}")


def _problem(file: str, refused: _Refused) -> Problem:
    return Problem(file, refused.line, dotted(refused.path), refused.reason, refused.hint, "InvalidYAML")


def _not_yaml(file: str, error: yaml.YAMLError) -> Problem:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    reason = (error.problem if isinstance(error, yaml.MarkedYAMLError) else None) or str(error).splitlines()[0]
    return Problem(file, mark.line + 1 if mark else 1, "", f"is not YAML: {reason}", code="InvalidYAML")


class _Reader:
    """Turns nodes into values and notes the line of each. An alias counts every time, so that a bomb is refused."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self._nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node, path: Path) -> JsonValue:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise _Refused(line, path[:1], f"unfolds to more than {MAX_NODES} values", "do not nest aliases")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, JsonValue]:
        self._check_tag(node, path, "map")
        result: dict[str, JsonValue] = {}
        for key, value in _pairs(node):
            name = self._key(key, path)
            if name in result:
                first = self._lines[(*path, name)]
                raise _Refused(key.start_mark.line + 1, (*path, name), f"is given twice; first on line {first}")
            self._lines[(*path, name)] = key.start_mark.line + 1
            result[name] = self.read(value, (*path, name))
        for name, value in self._merged(node, path).items():
            result.setdefault(name, value)
        return result

    def _merged(self, node: yaml.MappingNode, path: Path) -> dict[str, JsonValue]:
        result: dict[str, JsonValue] = {}
        for key, value in node.value:
            if key.tag != _YAML + "merge":
                continue
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise _Refused(key.start_mark.line + 1, (*path, "<<"), "merges something that is not a mapping")
                for name, inner in self._mapping(source, (*path, "<<")).items():
                    result.setdefault(name, inner)
        return result

    def _key(self, key: yaml.Node, path: Path) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused(key.start_mark.line + 1, path, "has a key that is not text")
        if not (key.tag == _YAML + "str" and isinstance(key.value, str)):
            raise _Refused(
                key.start_mark.line + 1, (*path, str(key.value)), "is a key that is not text", "put it in quotes"
            )
        return key.value

    def _scalar(self, node: yaml.Node, path: Path) -> JsonValue:
        self._check_tag(node, path, *_SCALARS)
        kind = node.tag.removeprefix(_YAML)
        if not isinstance(node, yaml.ScalarNode) or kind == "null":
            return None
        if kind == "bool":
            return bool(self._scalars.construct_yaml_bool(node))
        if kind in ("int", "float"):
            return self._number(node, path, kind)
        return str(node.value)

    def _number(self, node: yaml.ScalarNode, path: Path, kind: str) -> int | float:
        try:
            read = self._scalars.construct_yaml_int if kind == "int" else self._scalars.construct_yaml_float
            number = read(node)
        except ValueError as error:
            raise _Refused(
                node.start_mark.line + 1, path, f"is not a number: {node.value}", "put it in quotes"
            ) from error
        if not math.isfinite(number) or (kind == "int" and abs(number) >= 1 << 63):
            raise _Refused(node.start_mark.line + 1, path, "is a number that JSON cannot carry", "put it in quotes")
        return number

    def _check_tag(self, node: yaml.Node, path: Path, *allowed: str) -> None:
        if node.tag.removeprefix(_YAML) not in allowed:
            raise _Refused(node.start_mark.line + 1, path, f"carries the tag {node.tag!r}", "write plain values")


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    for key, value in node.value:
        if key.tag != _YAML + "merge":
            yield key, value
