"""What libraries import only to offer what a mesh never asks of them: refused to them, and to nobody else. It costs a
third of the start-up time and tens of megabytes. Which imports of our own are late is decided where they stand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

UNWANTED = {
    "nats.aio.transport": "aiohttp",  # NATS over websockets
    "structlog.dev": "rich",  # tracebacks in colour; ours are plain
    "structlog.tracebacks": "rich",
    "fastapi._compat.shared": "pydantic.v1",  # only to say that its models are not supported
}
"""By importer: the module that it does without where it is not installed."""


class _Refusing(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in UNWANTED.values() and UNWANTED.get(_importer()) == fullname:
            raise ModuleNotFoundError(f"{fullname} is not wanted by {_importer()}", name=fullname)
        return None


def refuse_unwanted() -> None:
    """Has each importer go without, from now on; anybody else imports as ever. Called once, before the libraries are
    imported."""
    sys.meta_path.insert(0, _Refusing())


def _importer() -> str:
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - there is no other way to tell who imports
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith("importlib.") and name != __name__:
            return name
        frame = frame.f_back
    return ""
