"""The gates that every change passes, in the order in which they are cheap; `make check` runs them.

One line a gate, with its duration; the first that fails prints its output and ends the run. Names given as
arguments run those gates alone.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
RELEASED = "proto/released.binpb"
RUST = "libs/native"
CLIPPY = ("cargo", "clippy", "--quiet", "--offline", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings")
RUST_TESTS = ("cargo", "test", "--quiet", "--offline", "--locked", "--package", "astromesh-native-core")


@dataclass(frozen=True)
class Gate:
    """A command that exits 0 when the tree keeps the rule; its first word is a program of the virtual environment."""

    name: str
    command: tuple[str, ...]
    mend: str = ""
    folder: str = "."
    skipped: Callable[[], str] = lambda: ""
    """Why it cannot be asked here; "" where it can."""


def _without_cargo(component: str = "") -> Callable[[], str]:
    """Rust's gates need a toolchain; all but its formatter need the crates too, which `make setup` fetches."""

    def reason() -> str:
        if shutil.which("cargo") is None:
            return "no cargo here"
        asked = ["cargo", component, "--version"]
        if component and subprocess.run(asked, capture_output=True, check=False).returncode:
            return f"cargo here has no {component}"
        return "" if component == "fmt" or find_spec("astromesh_native_rust") else "the Rust extension is not built"

    return reason


GATES = (
    Gate("format", ("ruff", "format", "--check", "--quiet", "."), "run `.venv/bin/ruff format`"),
    Gate("lint", ("ruff", "check", "--quiet", ".")),
    Gate("proto", ("python", "scripts/generate.py", "--check"), "run `make proto`"),
    Gate("proto-lint", ("buf", "lint")),
    Gate("proto-breaking", ("buf", "breaking", "--against", RELEASED), "keep what old events and clients read"),
    Gate("imports", ("lint-imports", "--no-logo", "--no-cache", "--config", ".importlinter")),
    Gate("architecture", ("pytest", "-q", "tests/test_architecture.py")),
    Gate("rust-format", ("cargo", "fmt", "--check"), "run `cargo fmt` in libs/native", RUST, _without_cargo("fmt")),
    Gate("rust-lint", CLIPPY, folder=RUST, skipped=_without_cargo("clippy")),
    Gate("rust-tests", RUST_TESTS, folder=RUST, skipped=_without_cargo()),
    Gate("types", ("basedpyright", "--level", "error", "--threads", "2")),
)


def main(names: list[str]) -> int:
    unknown = set(names) - {gate.name for gate in GATES}
    if unknown:
        print(f"no such gate: {', '.join(sorted(unknown))}; there are {', '.join(g.name for g in GATES)}")
        return 2
    chosen = [gate for gate in GATES if not names or gate.name in names]
    return 0 if all(passes(gate) for gate in chosen) else 1


def passes(gate: Gate) -> bool:
    """Runs one gate and prints its line; its output only when it fails."""
    if reason := gate.skipped():
        print(f"{gate.name:<16}skipped: {reason}", flush=True)
        return True
    start = time.monotonic()
    program, *arguments = gate.command
    result = subprocess.run(
        [shutil.which(program, path=BIN) or program, *arguments],
        cwd=ROOT / gate.folder,
        env=os.environ | {"PYTHONUTF8": "1", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    verdict = "ok" if result.returncode == 0 else "FAILED"
    print(f"{gate.name:<16}{verdict:<8}{time.monotonic() - start:6.1f} s", flush=True)
    if result.returncode:
        print(result.stdout.decode(errors="replace"), end="")
        if gate.mend:
            print(f"To mend it: {gate.mend}.")
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
