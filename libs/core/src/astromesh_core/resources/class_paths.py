"""Import paths of users' own classes, as `package.module:Class`. Finding the class is `astromesh_core.user_code`'s."""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_class_path(text: str) -> bool:
    """Whether a text that may name a built-in part means a class instead."""
    return ":" in text


def class_path(text: str, example: str) -> str:
    """Lets an import path through; `example` is the name of a class of this kind."""
    if _CLASS.fullmatch(text):
        return text
    raise PydanticCustomError("provider", "is no class", {"hint": f"write my_package.my_module:{example}"})
