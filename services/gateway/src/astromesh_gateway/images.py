"""Pictures that come with a question: the forms that callers write, and the bounds that all of them keep to. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from astromesh.v1.values_pb2 import Image
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain, text_content

MOST_IMAGES = 16
"""In one request, transcript included."""

MOST_BYTES = 10_000_000
"""Of one picture, and of all that come as data together: the whole request has to fit into one message of ours."""

LONGEST_URL = 2048

DETAILS = ("low", "high")
"""How closely a model may be asked to look (https://platform.openai.com/docs/guides/images-vision)."""

SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
"""How files of the known types begin (the types that every vendor reads)."""

_DATA_URL = re.compile(r"data:([^;,]*);base64,(.*)", re.DOTALL)
_HEAD_CHARACTERS = 24
"""Of base64, which hold all of any signature."""


def image_of_url(url: str, detail: str = "auto") -> Image:
    """A picture by its address, or the one that a `data:` URL (RFC 2397) holds."""
    found = _DATA_URL.fullmatch(url) if url.startswith("data:") else None
    return image_of_data(found[1], found[2], detail) if found else Image(url=text_content(url), detail=_told(detail))


def image_of_data(media_type: str, data: str, detail: str = "auto") -> Image:
    """A picture of which the caller sends the file, in base64."""
    return Image(media_type=media_type.lower(), data=text_content(data), detail=_told(detail))


def _told(detail: str) -> str:
    return "" if detail == "auto" else detail


def check_images(images: Sequence[Image]) -> None:
    """Raises InvalidInput for a picture that cannot go on, named by its place, and for too many or too large ones."""
    if len(images) > MOST_IMAGES:
        raise InvalidInput(f"there are {len(images)} images; a request may have {MOST_IMAGES}")
    total = 0
    for place, image in enumerate(images):
        try:
            total += _checked(image)
        except InvalidInput as error:
            raise InvalidInput(f"images[{place}] {error.message}") from None
    if total > MOST_BYTES:
        raise InvalidInput(f"the images have {total} bytes together; a request may have {MOST_BYTES}")


def _checked(image: Image) -> int:
    """The bytes that a picture has here: none where its vendor fetches it."""
    if image.detail and image.detail not in DETAILS:
        raise InvalidInput(f"has the detail {image.detail[:50]!r}; it may be {' or '.join(DETAILS)}, or left out")
    if image.HasField("url"):
        _check_url(plain(image.url))
        return 0
    return _check_data(image.media_type, plain(image.data))


def _check_url(url: str) -> None:
    if len(url) > LONGEST_URL:
        raise InvalidInput(f"has a URL of {len(url)} characters; {LONGEST_URL} are read")
    try:
        parts = urlsplit(url)
        reachable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        private = _is_private(parts.hostname or "")
    except ValueError:
        reachable = private = False
    if private:
        # A model server of one's own fetches it, from inside the network.
        raise InvalidInput("has a URL that leads to an address of a private network; send the picture itself")
    if not reachable or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("has a URL that is neither https nor data:<media type>;base64,<file>")


def _is_private(host: str) -> bool:
    """Whether a host that is written as an address, or as this machine, is no public one. Names are not looked up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        # As resolvers read it: 127.1, 0x7f.1 and 2130706433 are addresses too.
        packed = socket.inet_pton(socket.AF_INET6, name) if ":" in name else socket.inet_aton(name)
    except OSError:
        return False
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_global


def _check_data(media_type: str, data: str) -> int:
    signature = SIGNATURES.get(media_type)
    if signature is None:
        raise InvalidInput(f"is of type {media_type[:50]!r}; known are {', '.join(SIGNATURES)}")
    if len(data) > 4 * -(-MOST_BYTES // 3):
        raise InvalidInput(f"has more than {MOST_BYTES} bytes")
    try:
        size = len(binascii.a2b_base64(data, strict_mode=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("is not in base64 (RFC 4648, section 4)") from error
    if signature.match(base64.b64decode(data[:_HEAD_CHARACTERS])) is None:
        raise InvalidInput(f"is no {media_type}: the file does not begin like one")
    return size
