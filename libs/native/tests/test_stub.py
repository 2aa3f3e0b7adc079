"""The extension offers just what its stub says."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from astromesh_native.choice import CHOICE, EXTENSION

STUB = Path(__file__).resolve().parent.parent / "crates" / "binding" / f"{EXTENSION}.pyi"


@pytest.mark.skipif(not CHOICE.rust, reason=f"twins alone: {CHOICE.reason}")
def test_the_stub_names_what_is_there() -> None:
    extension = import_module(EXTENSION)
    there = {name: members(vars(extension)[name]) for name in dir(extension) if not name.startswith("_")}
    there.pop(EXTENSION, None)
    assert there == {name: found for name, found in stubbed().items() if not name.startswith("_")}


def members(value: object) -> set[str]:
    """The public methods of a class; of anything else none."""
    return {name for name in vars(value) if not name.startswith("_")} if isinstance(value, type) else set()


def stubbed() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = set()
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = set()
        elif isinstance(node, ast.ClassDef):
            methods = (each.name for each in node.body if isinstance(each, ast.FunctionDef))
            found[node.name] = {name for name in methods if not name.startswith("_")}
    return found
