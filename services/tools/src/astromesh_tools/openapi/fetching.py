"""Brings documents: from the config folder, or from an address by the rules of every outbound request. One that a hash
pins is brought once, and kept."""

from __future__ import annotations

import asyncio
import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from astromesh_core.errors import Denied, InvalidInput, Unavailable
from astromesh_core.outbound import check_target
from astromesh_tools.openapi.documents import MOST_BYTES

if TYPE_CHECKING:
    from astromesh_core.resources.agent_tools import OpenapiTool
    from astromesh_tools.surroundings import Surroundings

MOST_REDIRECTS: Final = 5
_SECONDS: Final = 30.0
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_FOLDER: Final = "openapi"


def file_of(declared: OpenapiTool, config_folder: Path) -> Path:
    """The document's place. Raises InvalidInput for one outside the config folder."""
    folder = config_folder.resolve()
    file = (folder / declared.spec).resolve()
    if not file.is_relative_to(folder):
        raise InvalidInput(f"{declared.spec} is outside the config folder")
    return file


def read_file(declared: OpenapiTool, config_folder: Path) -> bytes:
    """The document as it stands in the config folder; blocking. Raises InvalidInput."""
    try:
        with file_of(declared, config_folder).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{declared.spec} cannot be read: {error.strerror}") from error
    _check_pin(declared, data)
    return data


async def fetched(declared: OpenapiTool, around: Surroundings) -> bytes:
    """The document at its address, or as it was kept. Raises InvalidInput for another one than is pinned, Denied,
    Unavailable."""
    kept = keeping_place(around.data_folder, f"{declared.sha256}.spec")
    data = await asyncio.to_thread(_kept, kept)
    if data is None or hashlib.sha256(data).hexdigest() != declared.sha256:
        try:
            async with asyncio.timeout(_SECONDS):
                data = await _got(URL(declared.spec), declared, around)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"{declared.spec} cannot be fetched: {type(error).__name__}") from error
        _check_pin(declared, data)
        await asyncio.to_thread(keep, kept, data)
    return data


def keeping_place(data_folder: Path, name: str) -> Path:
    """Where something is kept over restarts."""
    return data_folder / _FOLDER / name


def keep(place: Path, data: bytes) -> None:
    """Writes a file whole or not at all; blocking. One that cannot be kept is fetched, or made, again."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        begun = place.with_suffix(f"{place.suffix}.new")
        begun.write_bytes(data)
        begun.replace(place)
    except OSError:
        return


def _kept(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except OSError:
        return None


async def _got(url: URL, declared: OpenapiTool, around: Surroundings) -> bytes:
    session = around.outbound.session(allow_private=declared.allow_private)
    for _ in range(MOST_REDIRECTS + 1):
        check_target(url, allow_private=declared.allow_private)
        async with session.get(url, allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                return await _body(response)
            target = url.join(URL(response.headers.get("Location", "")))
        if url.scheme == "https" and target.scheme != "https":
            raise Denied(f"{url} is redirected from https to {target.scheme}")
        url = target
    raise InvalidInput(f"{declared.spec} is redirected more than {MOST_REDIRECTS} times")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise Unavailable(f"{response.url} answered {response.status}")
    body = bytearray()
    async for part in response.content.iter_chunked(65_536):
        body += part
        if len(body) > MOST_BYTES:
            raise InvalidInput(f"{response.url} has more than {MOST_BYTES} bytes")
    return bytes(body)


def _check_pin(declared: OpenapiTool, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if declared.sha256 is not None and found != declared.sha256:
        advice = "look at what changed, then write that"
        raise InvalidInput(f"{declared.spec} is not the document that sha256 pins: it has {found}; {advice}")
