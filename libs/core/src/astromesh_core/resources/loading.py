"""The config folder to resources. Reads files, blocking: call it in a thread. Watching the folder is the operator's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astromesh_core.resources.parsing import Loaded, parse_document
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.resource import ManagedBy
from astromesh_core.resources.yaml_documents import MAX_BYTES, read_documents

GLOBS = (
    "runtime.yaml",
    "providers*.yaml",
    "channels.yaml",
    "rag/*.rag.yaml",
    "policies/*.policy.yaml",
    "agents/*.agent.yaml",
)
"""The files of a config folder that hold resources."""

_STRAY = ("*.yaml", "*.yml", "agents/*.y*ml", "rag/*.y*ml", "policies/*.y*ml", "workflows/*.y*ml")


def load_text(text: str | bytes, file: str, *, managed_by: ManagedBy = "file", namespace: str = "default") -> Loaded:
    """Reads the resources of a YAML text; `file` names it in problems. Never raises for what the text says."""
    documents, problems = read_documents(text, file)
    loaded = Loaded((), tuple(problems))
    for document in documents:
        loaded += parse_document(document, managed_by=managed_by, namespace=namespace)
    return loaded


def resource_files(folder: Path) -> list[Path]:
    """Lists the files of a config folder that hold resources, in the order in which they are read."""
    return [file for glob in GLOBS for file in sorted(folder.glob(glob)) if file.is_file()]


def load_folder(folder: Path, *, namespace: str = "default") -> Loaded:
    """Reads a config folder. Files are named relative to it. Each bad document is a problem; the others are loaded.

    A YAML file that no glob of `GLOBS` names is a problem too: it would otherwise be ignored without a word.
    """
    files = resource_files(folder)
    loaded = Loaded((), tuple(_stray(folder, set(files))))
    for file in files:
        loaded += _load_file(file, file.relative_to(folder).as_posix(), namespace)
    return loaded


def _load_file(file: Path, name: str, namespace: str) -> Loaded:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return Loaded((), (Problem(name, 0, "", f"cannot be read: {error.strerror}", code="Unreadable"),))
    return load_text(text, name, namespace=namespace)


def _stray(folder: Path, known: set[Path]) -> Iterator[Problem]:
    found = {file for glob in _STRAY for file in folder.glob(glob) if file.is_file()}
    for file in sorted(found - known):
        name = file.relative_to(folder).as_posix()
        reason = "is not read; resources stand in " + ", ".join(GLOBS)
        yield Problem(name, 0, "", reason, _better_name(file), "UnexpectedFile")


def _better_name(file: Path) -> str:
    suffixes = {"agents": ".agent.yaml", "rag": ".rag.yaml", "policies": ".policy.yaml"}
    suffix = suffixes.get(file.parent.name)
    return f"name it {file.name.split('.')[0]}{suffix}" if suffix else ""
