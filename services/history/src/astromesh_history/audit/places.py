"""Places outside the mesh to which signed heads are told: a file, a git repository, an HTTP endpoint.

What a place holds, the mesh cannot take back: whoever changes the log and signs anew is found out there.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import aiohttp
import orjson

from astromesh.v1.audit_pb2 import TreeHead
from astromesh_core.audit.heads import anchored_heads, head_form
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.canonical import canonical_json
from astromesh_core.resources.audit import AnchorSpec, FileAnchor, GitAnchor
from astromesh_core.resources.secrets import resolve

RECENT_BYTES = 64 << 10
"""Of a file's end that is read before a head is added: some hundred heads. A file may hold those of years."""

_LONGEST_LINE = 4096

SECONDS = 10.0
"""How long a place may take."""


class Place(Protocol):
    """Somewhere that keeps heads."""

    name: str
    """What people read of it; also what is remembered of how far it has come."""

    async def tell(self, head: TreeHead) -> None:
        """Returns once the place keeps the head. Telling it again is harmless. Raises Unavailable, InvalidInput."""
        ...


def place_of(spec: AnchorSpec) -> Place:
    """The place that a RuntimeConfig names."""
    if isinstance(spec, FileAnchor):
        return FilePlace(Path(spec.path))
    if isinstance(spec, GitAnchor):
        return GitPlace(Path(spec.repository), spec.file, push=spec.push)
    return HttpPlace(str(spec.url), dict(spec.headers))


class FilePlace:
    """A file with a head a line: on a disk that is written once, or that others copy."""

    def __init__(self, path: Path) -> None:
        self.name = f"file:{path}"
        self._path = path

    async def tell(self, head: TreeHead) -> None:
        """See Place."""
        await asyncio.to_thread(append_head, self._path, head)


class GitPlace:
    """A file with a head a line in a git repository, each a commit; pushed where that is wanted."""

    def __init__(self, repository: Path, file: str, *, push: bool) -> None:
        self.name = f"git:{repository / file}"
        self._repository = repository
        self._file = file
        self._push = push

    async def tell(self, head: TreeHead) -> None:
        """See Place."""
        await asyncio.to_thread(append_head, self._repository / self._file, head)
        await self._git("add", "--", self._file)
        if await self._git("status", "--porcelain", "--", self._file):
            await self._git("commit", "--quiet", "-m", f"Tree head of {head.size} leaves", "--", self._file)
        if self._push:
            await self._git("push", "--quiet")

    async def _git(self, *words: str) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                "-C",
                str(self._repository),
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            )
        except OSError as error:
            raise Unavailable(f"git cannot be run: {error.strerror}") from error
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            # Not killed: it takes its lock off the repository as it goes.
            process.terminate()
            await process.wait()
            raise
        if process.returncode:
            told = err.decode(errors="replace").strip().splitlines()
            raise Unavailable(f"git {words[0]} failed: {told[-1] if told else process.returncode}")
        return out.decode(errors="replace")


class HttpPlace:
    """An endpoint that takes a head by POST, as JSON, and keeps it; 2xx says that it does."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.name = f"http:{url}"
        self._url = url
        self._headers = headers

    async def tell(self, head: TreeHead) -> None:
        """See Place."""
        given = {name: resolve(text, os.environ) for name, text in self._headers.items()}
        headers = {"Content-Type": "application/json", **given}
        url, data = resolve(self._url, os.environ), canonical_json(head_form(head))
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.post(url, data=data, headers=headers, allow_redirects=False) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise Unavailable(f"it answers {answer.status}")
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"it cannot be reached: {error}") from error
        except ValueError as error:
            raise InvalidInput("a header has a value that no header may have") from error


def append_head(path: Path, head: TreeHead) -> None:
    """Writes the head as the file's last line, for good; nothing where it is among the last ones already.

    Raises InvalidInput where those hold another head of this size, or what is none; Unavailable where it cannot be
    written.
    """
    try:
        end, recent = _recent(path)
        same = [each for each in anchored_heads(recent) if (each.tree, each.size) == (head.tree, head.size)]
        if any(each != head for each in same):
            raise InvalidInput(f"{path} holds another head of {head.size} leaves: the tree is not the one it was")
        if same:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(end)
            file.truncate()
            file.write(orjson.dumps(head_form(head), option=orjson.OPT_SORT_KEYS) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error


def _recent(path: Path) -> tuple[int, bytes]:
    """Where the file's last whole line ends, and the last whole lines: one that a crash cut off is no head, and what
    was to stand there is told again."""
    if not path.exists():
        return 0, b""
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - RECENT_BYTES)
        file.seek(start)
        held = file.read()
    past = held.rfind(b"\n") + 1
    if held[past : past + 1] not in (b"", b"{") or len(held) - past > _LONGEST_LINE:
        raise InvalidInput(f"{path} is no file of tree heads: it is left as it is")
    # What was begun before the part that was read is not whole.
    first = held.find(b"\n") + 1 if start else 0
    return start + past, held[first:past]
