"""Page tokens: where a list goes on. Opaque to callers, and good only for the list that they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import NamedTuple

from astromesh.v1.runs_pb2 import RunFilter
from astromesh_core.errors import InvalidInput

DEFAULT_SIZE = 50
LARGEST_SIZE = 500

_TOKEN = struct.Struct(">qq8s")


class Place(NamedTuple):
    """The last run of a page. Lists go from newer to older, so a run that comes later moves no page."""

    requested: int
    number: int


def page_size(asked: int) -> int:
    """How many a page holds: the default where nothing is asked, never more than the largest. Raises InvalidInput."""
    if asked < 0:
        raise InvalidInput(f"page_size is {asked}; it must be from 1 to {LARGEST_SIZE}, or 0 for {DEFAULT_SIZE}")
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def encode(place: Place, namespace: str, of: RunFilter) -> str:
    """The token of the page after this place."""
    return base64.urlsafe_b64encode(_TOKEN.pack(*place, _list(namespace, of))).decode()


def decode(token: str, namespace: str, of: RunFilter) -> Place | None:
    """The place that a token stands for; None for an empty one. Raises InvalidInput for one of another list."""
    if not token:
        return None
    try:
        requested, number, of_list = _TOKEN.unpack(base64.urlsafe_b64decode(token))
    except (binascii.Error, struct.error, ValueError):
        raise InvalidInput("page_token is none of ours; leave it out to begin at the newest run") from None
    if of_list != _list(namespace, of):
        raise InvalidInput("page_token belongs to a list with another filter; keep the filter while paging")
    return Place(requested, number)


def _list(namespace: str, of: RunFilter) -> bytes:
    return hashlib.sha256(namespace.encode() + b"\0" + of.SerializeToString(deterministic=True)).digest()[:8]
