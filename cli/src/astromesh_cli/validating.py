"""Checks resource files with no mesh: each by itself, among the others of its folder, and against what is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from astromesh_cli.document_checks import document_problems
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.features import fallbacks, unsupported
from astromesh_core.resources.loading import load_folder, load_text, resource_files
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.validation import check

_FOLDERS = ("agents", "rag")


@dataclass(frozen=True)
class Findings:
    """What was checked. `gaps` ask for what this release does not have: stored, not Ready. `stand_ins` are served by
    something else than what they name, for it is not installed here."""

    resources: int
    problems: tuple[Problem, ...]
    gaps: tuple[Problem, ...]
    stand_ins: tuple[Problem, ...] = ()


def read_path(path: Path) -> Loaded:
    """The resources of a file or a config folder, and why others are refused. Raises InvalidInput for no such path."""
    if path.is_dir():
        return _prefixed(load_folder(path), path)
    try:
        return load_text(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from None


def validate(path: Path) -> Findings:
    """Checks a file or a folder. A file of a config folder is checked among the others there. Blocking."""
    loaded = read_path(path)
    others: Loaded = Loaded()
    if path.is_file() and (folder := config_folder_of(path)) is not None:
        names = [str(each) for each in resource_files(folder) if each.resolve() != path.resolve()]
        for name in names:
            others += load_text(Path(name).read_bytes(), name)
    own = {str(resource.key) for resource in loaded.resources}
    among = [problem for problem in check((*others.resources, *loaded.resources)) if problem.resource in own]
    gaps = [
        Problem(gap.file, gap.line, gap.field, gap.reason, code="NotSupported", resource=str(resource.key))
        for resource in loaded.resources
        for gap in unsupported(resource)
    ]
    stand_ins = [
        Problem(it.file, it.line, it.field, it.message, code=it.reason, resource=str(resource.key))
        for resource in loaded.resources
        for it in fallbacks(resource)
    ]
    folder = path if path.is_dir() else config_folder_of(path)
    documents = [each for resource in loaded.resources if folder for each in document_problems(resource, folder)]
    problems = (*loaded.problems, *among, *documents)
    return Findings(len(loaded.resources), problems, tuple(gaps), tuple(stand_ins))


def config_folder_of(file: Path) -> Path | None:
    """The config folder that reads this file; None where none does."""
    parent = file.resolve().parent
    folder = parent.parent if parent.name in _FOLDERS else parent
    return folder if file.resolve() in [each.resolve() for each in resource_files(folder)] else None


def _prefixed(loaded: Loaded, folder: Path) -> Loaded:
    """Names files as they are reached from here, so that an editor can open them."""
    problems = tuple(replace(problem, file=str(folder / problem.file)) for problem in loaded.problems)
    resources = tuple(
        replace(resource, origin=replace(resource.origin, file=str(folder / resource.origin.file)))
        if resource.origin is not None
        else resource
        for resource in loaded.resources
    )
    return Loaded(resources, problems)
