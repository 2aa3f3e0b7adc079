"""Names of resources and references among them. Whether a reference leads anywhere is judged in `validation`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _repaired(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def check_label(text: str) -> str:
    """Lets a DNS label through: 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'."""
    if _LABEL.fullmatch(text):
        return text
    repaired = _repaired(text)
    hint = f"write {repaired!r}" if repaired else "write a word of a-z, 0-9 and '-'"
    raise PydanticCustomError("name", "is not a DNS label: 1 to 63 of a-z, 0-9 and '-'", {"hint": hint})


def check_reference(text: str) -> str:
    """Lets `name` and `namespace/name` through."""
    for label in text.split("/", 1):
        check_label(label)
    return text


Name = Annotated[str, AfterValidator(check_label)]
"""The name of a resource or a namespace."""

Reference = Annotated[str, AfterValidator(check_reference)]
"""Another resource: `name` in the own namespace, `namespace/name` in another."""


@dataclass(frozen=True, order=True)
class ResourceKey:
    """Names one resource of the mesh."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def refer(kind: str, reference: str, namespace: str) -> ResourceKey:
    """Finds whom a reference names when it stands in a resource of `namespace`."""
    first, slash, second = reference.partition("/")
    return ResourceKey(kind, first, second) if slash else ResourceKey(kind, namespace, first)
