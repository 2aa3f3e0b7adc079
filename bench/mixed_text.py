"""Real text that stands on every machine that runs this: what is installed, and what Python comes with."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path

_SITE = Path(sysconfig.get_path("purelib"))
_PYTHON = Path(sysconfig.get_path("stdlib"))
_BLOCK = 4_096


@cache
def mixed_text(size: int) -> str:
    """So many bytes: descriptions of packages, licences and notes in turn with Python's own sources, a few kilobytes of
    each, so that prose, tables, code, addresses, versions and the world's scripts stand side by side."""
    parts, length = list[str](), 0
    for pair in zip_longest(_blocks(_prose()), _blocks(_code())):
        for block in filter(None, pair):
            parts.append(block)
            length += len(block.encode())
        if length >= size:
            break
    return "".join(parts).encode()[:size].decode(errors="ignore")


def _blocks(files: Iterator[Path]) -> Iterator[str]:
    for file in files:
        text = file.read_text(errors="ignore")
        for place in range(0, len(text), _BLOCK):
            yield text[place : place + _BLOCK]


def _prose() -> Iterator[Path]:
    yield from sorted(_SITE.glob("*.dist-info/METADATA"))
    yield from sorted(file for ending in ("md", "rst", "txt") for file in _SITE.rglob(f"*.{ending}"))


def _code() -> Iterator[Path]:
    yield from sorted(file for file in _PYTHON.rglob("*.py") if "site-packages" not in file.parts)
