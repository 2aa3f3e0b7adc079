"""The gates that every change passes, in the order in which they are cheap; `make check` runs them.

One line a gate, with its duration; the first that fails prints its output and ends the run. Names given as
arguments run those gates alone.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
RELEASED = "proto/released.binpb"


@dataclass(frozen=True)
class Gate:
    """A command that exits 0 when the tree keeps the rule; its first word is a program of the virtual environment."""

    name: str
    command: tuple[str, ...]
    mend: str = ""


GATES = (
    Gate("format", ("ruff", "format", "--check", "--quiet", "."), "run `.venv/bin/ruff format`"),
    Gate("lint", ("ruff", "check", "--quiet", ".")),
    Gate("proto", ("python", "scripts/generate.py", "--check"), "run `make proto`"),
    Gate("proto-lint", ("buf", "lint")),
    Gate("proto-breaking", ("buf", "breaking", "--against", RELEASED), "keep what old events and clients read"),
    Gate("imports", ("lint-imports", "--no-logo", "--no-cache", "--config", ".importlinter")),
    Gate("architecture", ("pytest", "-q", "tests/test_architecture.py")),
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
    start = time.monotonic()
    program, *arguments = gate.command
    result = subprocess.run(
        [BIN / program, *arguments],
        cwd=ROOT,
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
