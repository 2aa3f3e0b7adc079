"""`read_file`: texts and folders inside declared roots. What a link leads to is judged, not the link.

The part that decides, `Roots`, answers for each path before anything is opened, and the opened file is asked again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from astromesh_core.errors import Denied, InvalidInput, NotFound
from astromesh_core.resources.builtin_configs import ReadFileConfig
from astromesh_core.resources.builtin_tools import LINES_READ
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.builtin.tool import in_thread

MOST_BYTES: Final = 10 * 1024 * 1024
MOST_LISTED: Final = 1_000
LONGEST_LINE: Final = 2_000


class ReadFile:
    """Reads, in a thread."""

    def __init__(self, config: ReadFileConfig, config_folder: Path, data_folder: Path, threads: DaemonThreads) -> None:
        self._roots = Roots([config_folder / root for root in config.roots], data_folder)
        self._threads = threads

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """Lines of a text, and how to read on; or what a folder holds, folders with a slash."""
        offset, limit = arguments.get("offset", 1), arguments.get("limit", LINES_READ)
        # The schema says so.
        assert isinstance(offset, int)
        assert isinstance(limit, int)
        path = str(arguments.get("path", "."))
        return await in_thread(self._threads, partial(_read, self._roots, path, offset, limit))


class Roots:
    """The folders that may be read, and the one that may not: the mesh's own data, with its keys."""

    def __init__(self, roots: Sequence[Path], forbidden: Path) -> None:
        self._roots = roots
        self._forbidden = forbidden

    def find(self, name: str) -> Path:
        """The real path of a name: relative to the first root that has it, or absolute.

        Raises Denied for what lies elsewhere, NotFound for what is nowhere.
        """
        if "\0" in name:
            raise InvalidInput("path: holds a character that no name has")
        try:
            real = self._real(name)
        except (OSError, RuntimeError) as error:
            raise NotFound(f"path: {name[:200]!r} cannot be looked up") from error
        if not self.holds(real):
            raise Denied(f"path: {name[:200]!r} lies outside of what may be read")
        if not real.exists():
            raise NotFound(f"there is no {name[:200]!r}; an empty path lists what there is")
        return real

    def holds(self, real: Path) -> bool:
        """Whether a path without links is inside."""
        inside = any(real.is_relative_to(root.resolve()) for root in self._roots)
        return inside and not real.is_relative_to(self._forbidden.resolve())

    def listed(self) -> list[Path]:
        """The roots that are there."""
        return [root for root in self._roots if root.is_dir()]

    def _real(self, name: str) -> Path:
        found = [(root / name).resolve() for root in self._roots]
        inside = [path for path in found if self.holds(path)]
        return next((path for path in inside if path.exists()), (inside or found)[0])


def _read(roots: Roots, name: str, offset: int, limit: int) -> str:
    if name.strip() in ("", ".") and len(roots.listed()) > 1:
        return "\n".join(f"{root}/" for root in roots.listed())
    path = roots.find(name.strip() or ".")
    try:
        return _folder(path, roots) if path.is_dir() else _lines(_text(path, roots), offset, limit)
    except OSError as error:
        raise Denied(f"path: {name[:200]!r} cannot be read: {error.strerror}") from error


def _folder(path: Path, roots: Roots) -> str:
    entries = sorted(entry for entry in path.iterdir() if roots.holds(entry.resolve()))
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:MOST_LISTED]]
    left = len(entries) - len(names)
    return "\n".join([*names, *([f"[{left} more]"] if left else [])]) or "[the folder is empty]"


def _text(path: Path, roots: Roots) -> str:
    # Not blocked by a pipe, and not led away by a link that has come since.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not roots.holds(path.resolve()):
            raise Denied(f"path: {path.name!r} is no file that may be read")
        if status.st_size > MOST_BYTES:
            raise InvalidInput(f"{path.name} has {status.st_size} bytes; a file may have {MOST_BYTES}")
        body = file.read(MOST_BYTES + 1)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is no text in UTF-8, which is all that can be read") from error
    if "\0" in text:
        raise InvalidInput(f"{path.name} is no text")
    return text


def _lines(text: str, offset: int, limit: int) -> str:
    lines = text.splitlines()
    if not lines:
        return "[the file is empty]"
    if offset > len(lines):
        raise InvalidInput(f"offset: the file has {len(lines)} lines")
    end = offset - 1 + limit
    shown = [_cut(line) for line in lines[offset - 1 : end]]
    if offset == 1 and end >= len(lines):
        return "\n".join(shown)
    left = f"; go on with offset: {end + 1}" if end < len(lines) else ""
    return "\n".join([*shown, f"[lines {offset} to {min(end, len(lines))} of {len(lines)}{left}]"])


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]} [{len(line) - LONGEST_LINE} more characters of this line]"
