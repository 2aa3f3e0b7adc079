"""The config folder as it is now, and again whenever it changes. Judging what it says stands in `planning`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from astromesh_core.resources.loading import load_folder, resource_files
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.problems import Problem

RESCAN_SECONDS: Final = 10.0
"""How often the folder is looked at without being told: file systems that tell nothing, folders that were replaced."""

_SETTLE_MILLISECONDS: Final = 60
_SUBFOLDERS: Final = ("agents", "policies", "rag")

Fingerprint = frozenset[tuple[str, int, int]]


def read_folder(folder: Path) -> Loaded:
    """Reads the folder. A folder that cannot be listed is a problem of every file in it; blocking, never raises."""
    hidden = [problem for problem in (_listing_problem(folder, place) for place in ("", *_SUBFOLDERS)) if problem]
    return load_folder(folder) + Loaded((), tuple(hidden))


async def versions(folder: Path, rescan_seconds: float = RESCAN_SECONDS) -> AsyncGenerator[Loaded, None]:
    """The folder as it is, then again some 100 ms after each change. Close it (`aclosing`)."""
    changed = asyncio.Event()
    watcher = asyncio.create_task(_watch(folder, changed, rescan_seconds))
    try:
        seen: Fingerprint | None = None
        while True:
            changed.clear()
            now = await asyncio.to_thread(_fingerprint, folder)
            if now != seen:
                seen = now
                yield await asyncio.to_thread(read_folder, folder)
            try:
                async with asyncio.timeout(rescan_seconds):
                    await changed.wait()
            except TimeoutError:
                continue
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _watch(folder: Path, changed: asyncio.Event, retry_seconds: float) -> None:
    from watchfiles import awatch

    while True:
        try:
            async for _ in awatch(folder, watch_filter=_matters, step=_SETTLE_MILLISECONDS):
                changed.set()
        except OSError:
            # Not there (yet), or no more watches to be had: the rescan goes on without.
            await asyncio.sleep(retry_seconds)


def _matters(_change: object, path: str) -> bool:
    """YAML files; and what has no suffix, for it may be a folder that was moved."""
    return Path(path).suffix in (".yaml", ".yml", "")


def _fingerprint(folder: Path) -> Fingerprint:
    found: set[tuple[str, int, int]] = set()
    for place in ("", *_SUBFOLDERS):
        if problem := _listing_problem(folder, place):
            found.add((str(problem), 0, 0))
    for file in resource_files(folder):
        try:
            state = file.stat()
        except OSError:
            found.add((str(file), 0, 0))
        else:
            found.add((str(file), state.st_mtime_ns, state.st_size))
    return frozenset(found)


def _listing_problem(folder: Path, place: str) -> Problem | None:
    """Why the files of a folder are not known. A subfolder that is not there has none; the folder itself must be, and
    is told of once."""
    try:
        with os.scandir(folder / place):
            return None
    except FileNotFoundError as error:
        if place:
            return None
        reason = f"cannot be read: {error.strerror}"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    return Problem(f"{place}/" if place else f"{folder.absolute()}/", 0, "", reason, code="Unreadable")
