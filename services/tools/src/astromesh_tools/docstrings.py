"""Reads what a docstring says of a function and of its parameters, in the Google and the Sphinx style."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPHINX = re.compile(r"^:param (?:[^:]+ )?(?P<name>\w+):\s*(?P<text>.*)$")
_GOOGLE = re.compile(r"^(?P<name>\w+)(?: ?\([^)]*\))?:\s*(?P<text>.*)$")
_SECTION = re.compile(r"^(args|arguments|parameters|params):\s*$", re.IGNORECASE)
_ANY_SECTION = re.compile(r"^[A-Z]\w+( \w+)?:\s*$")


class Described(NamedTuple):
    """What the model is told: the function's first paragraph, and a line per parameter."""

    summary: str
    parameters: dict[str, str]


def read_docstring(text: str) -> Described:
    """Reads a docstring whose indentation is cleaned (`inspect.getdoc`). Anything it does not know is left out."""
    lines = text.splitlines()
    summary: list[str] = []
    for line in lines:
        if not line.strip() or _SECTION.match(line) or _SPHINX.match(line):
            break
        summary.append(line.strip())
    return Described(" ".join(summary), _sphinx(lines) | _google(lines))


def _sphinx(lines: list[str]) -> dict[str, str]:
    found = (_SPHINX.match(line.strip()) for line in lines)
    return {match["name"]: match["text"].strip() for match in found if match}


def _google(lines: list[str]) -> dict[str, str]:
    start = next((place for place, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    parameters: dict[str, str] = {}
    indent = name = ""
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        margin = line[: len(line) - len(line.lstrip())]
        if not margin or _ANY_SECTION.match(line):
            break
        indent = indent or margin
        match = _GOOGLE.match(line.strip()) if margin == indent else None
        if match:
            name = match["name"]
            parameters[name] = match["text"].strip()
        elif name:
            parameters[name] = f"{parameters[name]} {line.strip()}".strip()
    return parameters
