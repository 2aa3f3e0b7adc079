"""How the mesh vouches for its log: how often it signs, and where outside it the signed heads are told."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.headers import SET_BY_ITSELF, check_headers
from astromesh_core.resources.spelling import Items, Spec, shaped
from astromesh_core.resources.urls import HttpAddress

_OURS = SET_BY_ITSELF | {"content-type"}


def _absolute(text: str) -> str:
    if PurePath(text).is_absolute():
        return text
    raise PydanticCustomError("path", "is not an absolute path", {"hint": "such as /var/audit/heads.jsonl"})


AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class FileAnchor(Spec):
    """A file that gets a line for each head."""

    type: Literal["file"]
    path: AbsolutePath


class GitAnchor(Spec):
    """A file in a git repository on this machine; each head is a commit."""

    type: Literal["git"]
    repository: AbsolutePath
    file: Annotated[str, shaped(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "a file's name", "heads.jsonl")] = "heads.jsonl"
    push: bool = False
    """Each head is pushed to where the branch has its upstream."""


class HttpAnchor(Spec):
    """An endpoint that takes each head by POST, as JSON, and answers 2xx once it keeps it."""

    type: Literal["http"]
    url: HttpAddress
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Values may hold `${NAME}`."""

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value, _OURS)
        return value


AnchorSpec = Annotated[FileAnchor | GitAnchor | HttpAnchor, Field(discriminator="type")]


class Audit(Spec):
    """When heads are signed, and where they are told."""

    interval_seconds: float = Field(default=60, ge=1, le=86_400)
    anchors: Items[AnchorSpec] = Field(default=(), max_length=8)
