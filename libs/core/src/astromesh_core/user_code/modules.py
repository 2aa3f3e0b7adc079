"""Finds users' functions and classes: in a folder's modules, whose edits are noticed, then on the Python path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from astromesh_core.errors import InvalidInput
from astromesh_core.telemetry.logs import logger
from astromesh_core.user_code.folder import FolderModules, Stamp, stamp_of
from astromesh_core.user_code.foreign import Raised, attempt

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the folder."""

UserCode = Callable[..., object]
"""A function or a class."""

_log = logger(__name__)


class Modules:
    """What resources name by import path. Not for two threads at once: callers serialise `refresh` and `find`."""

    def __init__(self, folder: Path, seconds: Callable[[], float] = monotonic) -> None:
        self.folder = folder
        self._seconds = seconds
        self._looked = seconds()
        self._stamp: Stamp = stamp_of(folder)
        self._current = FolderModules(folder)
        self._current.open()
        self._previous: FolderModules | None = None
        self._loaded: set[str] = set()
        self.generation = 1

    @property
    def due(self) -> bool:
        """Tells whether it is time to look at the folder again."""
        return self._seconds() - self._looked >= LOOK_EVERY

    def refresh(self) -> None:
        """Takes up edits: a new generation where all modules in use import again, else the last good one stays.

        A module that was removed is in use no more. The generation before stays importable for what still runs in it.
        """
        self._looked = self._seconds()
        stamp = stamp_of(self.folder)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        edited = FolderModules(self.folder)
        self._loaded = {module for module in self._loaded if edited.holds(module)}
        edited.open()
        try:
            for module in sorted(self._loaded):
                attempt(lambda module=module: edited.load(module))
        except Raised as raised:
            edited.close()
            _log.warning(
                "an edit of users' code is refused: the last good version stays",
                folder=str(self.folder),
                reason=str(raised),
            )
            return
        if self._previous is not None:
            self._previous.close()
        self._previous, self._current = self._current, edited
        self.generation += 1

    def find(self, path: str) -> UserCode:
        """Returns the function or class at `module:attribute`. Raises InvalidInput that says what stands in the way."""
        name, _, attribute = path.partition(":")
        try:
            module = attempt(lambda: self._import(name))
        except Raised as raised:
            raise InvalidInput(f"{path}: the module {name} cannot be imported: {raised}") from raised
        found: object = getattr(module, attribute, None)
        if not callable(found):
            what = "is no function and no class" if hasattr(module, attribute) else "does not exist"
            place = getattr(module, "__file__", None) or name
            raise InvalidInput(f"{path}: {attribute} {what} in {place}")
        return found

    def close(self) -> None:
        """Forgets the folder's modules."""
        for modules in (self._current, self._previous):
            if modules is not None:
                modules.close()

    def _import(self, name: str) -> object:
        if not self._current.has(name):
            return importlib.import_module(name)
        module = self._current.load(name)
        self._loaded.add(name)
        return module
