"""Addresses in resources. A part may be `${NAME}`, so only what stands there literally is judged."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def check_http_url(text: str) -> str:
    """Lets an absolute http or https address through, without its trailing slash."""
    return check_http_address(text).rstrip("/")


def check_http_address(text: str) -> str:
    """Lets an absolute http or https address through as it is."""
    if text.startswith("${") or _is_http(text):
        return text
    raise PydanticCustomError("url", "is not an http address", {"hint": "such as http://127.0.0.1:11434"})


def _is_http(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_sound = "${" in parts.netloc or parts.port != 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_sound


HttpUrl = Annotated[str, AfterValidator(check_http_url)]
"""An absolute http or https address."""

HttpAddress = Annotated[str, AfterValidator(check_http_address)]
"""The same, where a trailing slash means something."""
