"""The rules of shape that no linter knows: sizes, names, skeletons, where exceptions end. Imports are in .importlinter.

An exception to a rule is listed here, with its reason.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("libs", "services", "cli", "bench", "scripts", "tests")
TEXTS = (*SOURCES, "proto", "config", "deploy", "docs", "typings")
TEXT_SUFFIXES = {
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".proto",
    ".txt",
    ".in",
    ".lock",
    ".json",
    ".sh",
    ".rs",
}
GENERATED = ROOT / "libs" / "proto" / "src"

MAX_LINES = 400
LONG_FILES: dict[str, str] = {}

FORBIDDEN_MODULES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base"}
FORBIDDEN_CLASS_ENDING = re.compile(r"(Manager|Helpers?|Utils?|Impl)$")

CATCHES_EVERYTHING = {
    "libs/core/src/astromesh_core/rpc": "the servicer's edge",
    "libs/core/src/astromesh_core/bus": "the consumer loop",
    "services/runtime/src/astromesh_runtime/dispatch.py": "the loop that runs go through: a bug ends its run alone",
    "services/runtime/src/astromesh_runtime/saga.py": "the edge to patterns: what one raises ends its run alone",
    "cli/src/astromesh_cli/__main__.py": "the launcher",
    "libs/vectors/src/astromesh_vectors/worker.py": "a thread's edge: what a call raises is raised where it is awaited",
    "libs/core/src/astromesh_core/user_code/foreign.py": "the edge to users' code: what they raise is their answer",
}

SERVICES_WITHOUT_RPC = {"operator": "its wire is the KV buckets; nobody calls it"}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SUPPRESSION = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|pyright:\s*ignore)(?P<codes>[:\[][^#]*?)?(?P<reason>\s(?:#|--|—|-).*)?$"
)
REGISTRY_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?<![\w.])crates\.io(?!-index)|proxy\.golang\.org|--(?:extra-)?index-url|--find-links"
)


@cache
def python_files() -> tuple[Path, ...]:
    """Every Python file that people write: all but generated code."""
    found = (path for top in SOURCES for path in (ROOT / top).rglob("*.py"))
    return tuple(sorted(path for path in found if GENERATED not in path.parents and is_ours(path)))


@cache
def source_files() -> tuple[Path, ...]:
    return tuple(path for path in python_files() if "src" in path.relative_to(ROOT).parts)


@cache
def text_files() -> tuple[Path, ...]:
    tops = [path for path in ROOT.iterdir() if path.is_file()]
    deep = (path for top in TEXTS for path in (ROOT / top).rglob("*") if path.is_file())
    named = (path for path in (*tops, *deep) if path.suffix in TEXT_SUFFIXES or path.name == "Makefile")
    return tuple(sorted(path for path in named if is_ours(path) and path != Path(__file__).resolve()))


def is_ours(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def services() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "services").glob("*/pyproject.toml"))


def test_a_file_has_at_most_400_lines() -> None:
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    long = {name: lines for name, lines in long.items() if lines > MAX_LINES}
    assert long.keys() <= LONG_FILES.keys(), f"split by noun: {long}"
    assert LONG_FILES.keys() <= long.keys(), "an exception that is no longer needed"


def test_no_module_is_named_for_nothing() -> None:
    named = {
        name_of(path) for path in python_files() for part in (path.stem, path.parent.name) if part in FORBIDDEN_MODULES
    }
    assert not named, "name the concept"


def test_no_class_is_named_for_nothing() -> None:
    classes = (
        (path, node) for path in python_files() for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)
    )
    named = [f"{name_of(path)}: {node.name}" for path, node in classes if FORBIDDEN_CLASS_ENDING.search(node.name)]
    assert not named, "a class is what it does"


def test_a_module_says_what_lives_in_it() -> None:
    silent = [name_of(path) for path in python_files() if tree(path).body and ast.get_docstring(tree(path)) is None]
    assert not silent


def test_an_init_file_holds_a_docstring_and_re_exports_alone() -> None:
    bad = [
        f"{name_of(path)}:{node.lineno}"
        for path in source_files()
        if path.name == "__init__.py"
        for node in tree(path).body
        if not is_passive(node)
    ]
    assert not bad, "move the code into a module"


def is_passive(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["__all__"]
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_everything_is_caught_only_at_the_three_edges() -> None:
    stray = [
        f"{name_of(path)}:{node.lineno}"
        for path in source_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and not is_an_edge(path)
    ]
    assert not stray, "name the errors that you expect"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {ast.unparse(name) for name in caught}
    if "BaseException" in names:
        return not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))
    return "Exception" in names


def is_an_edge(path: Path) -> bool:
    return any(name_of(path) == edge or name_of(path).startswith(edge + "/") for edge in CATCHES_EVERYTHING)


@pytest.mark.parametrize("service", services(), ids=lambda path: path.name)
def test_every_service_has_the_same_skeleton(service: Path) -> None:
    package = service / "src" / f"astromesh_{service.name}"
    needed = {"app.py", "__main__.py", "__init__.py", "py.typed"}
    if service.name not in SERVICES_WITHOUT_RPC:
        needed.add("service.py")
    missing = needed - {path.name for path in package.iterdir()}
    assert not missing
    assert any((service / "tests").glob("**/test_*.py")), "its tests stand beside it"


def test_no_hand_written_file_hides_the_generated_namespace() -> None:
    assert not (GENERATED / "astromesh" / "__init__.py").exists()


def test_nothing_is_left_unfinished() -> None:
    marks = [place for place, line in lines_of(python_files()) if UNFINISHED.search(line)]
    assert not marks


def test_a_suppressed_warning_carries_its_code_and_reason() -> None:
    bare = [
        f"{place}: {line.strip()}"
        for place, line in lines_of(python_files())
        if (found := SUPPRESSION.search(line)) and not (found["codes"] and found["reason"])
    ]
    assert not bare


def test_no_registry_is_named() -> None:
    named = [place for place, line in lines_of(text_files()) if REGISTRY_HOSTS.search(line)]
    assert not named, "where packages come from is the installer's setting"


def lines_of(paths: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{name_of(path)}:{number}", line
