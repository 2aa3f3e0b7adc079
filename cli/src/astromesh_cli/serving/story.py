"""`up --demo`: the story beside the mesh, in a thread that talks HTTP to it, and the ports that are free for it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping

from astromesh_cli.ports import free_port, is_free
from astromesh_cli.serving.chosen import chosen
from astromesh_cli.serving.greeting import address
from astromesh_core.errors import AstromeshError
from astromesh_core.launcher import Beside, Mesh
from astromesh_core.settings import Settings

_PORTS = ("port", "grpc_port")
_OUR_BUG = 70


def demo_options(given: Mapping[str, object]) -> dict[str, object]:
    """The options of a demo: quiet logs, and free ports in place of default ones that are taken, which it says."""
    options = dict(given)
    if "ASTROMESH_LOG_LEVEL" not in os.environ:
        # What services tell would stand between the lines of the story.
        options.setdefault("log_level", "warning")
    settings = chosen(options).settings
    for name in _PORTS:
        port, wanted = int(getattr(settings, name)), name in given or f"ASTROMESH_{name.upper()}" in os.environ
        if not wanted and not is_free(settings.host, port):
            options[name] = free_port(settings.host)
            print(f"port {port} is taken; the demo uses {options[name]}", flush=True)
    return options


def story_beside(settings: Settings, *, once: bool) -> Beside:
    """The story as work beside the services. `once`: its end is the mesh's, with 0 or 1; else the mesh serves on."""
    url = address(settings)

    async def beside(mesh: Mesh) -> int | None:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        left = threading.Event()
        # A daemon: Ctrl-C in the middle of the story waits for nobody.
        threading.Thread(target=_tell, args=(url, once, told, left), name="demo", daemon=True).start()
        try:
            code = await told
        finally:
            left.set()
        return code if once else None

    return beside


def _tell(url: str, once: bool, told: asyncio.Future[int], left: threading.Event) -> None:
    from astromesh_cli.client.terminal import tell_error
    from astromesh_cli.demo import tell_story

    code = _OUR_BUG
    try:
        tell_story(url, once=once)
        code = 0
    except AstromeshError as error:
        code = 1
        if not left.is_set():
            tell_error(f"the demo did not come to its end: {error.message}")
    finally:
        if not left.is_set():
            told.get_loop().call_soon_threadsafe(_settle, told, code)


def _settle(told: asyncio.Future[int], code: int) -> None:
    if not told.done():
        told.set_result(code)
