"""Runs the long tests with their full counts, one kind after the other, and writes what came of them into the ledger.

Counts are options, so that a bounded run says honestly how many it did: `make soak ARGS="--points 150 --minutes 2"`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "tests" / "soak-ledger.md"
TITLE = """# Ledger of `make soak`

Each section is one run of `scripts/soak.py`: what was counted, on which machine, at which commit. Lost events are those
that a caller was told of and the log lacks: at a run's beginning (prefix), in its middle, or at its end (postfix).
A SIGKILL point passes only where none is lost (the chain is whole from index 0 to the run's end, the replay identical)
and no effect is doubled (one call of a write, the same key for the others; a write cut off waits for a human).
"""


COUNTS = frozenset(("points", "minutes", "chaos", "disconnects", "parity", "vectors"))


@dataclass(frozen=True)
class Part:
    """One kind of long test: which tests, and the variables that say how many."""

    name: str
    tests: tuple[str, ...]
    variables: dict[str, str]
    lanes: int = 1
    """How many of its tests run side by side: those that mostly wait may."""


@dataclass(frozen=True)
class Outcome:
    """What came of a part: counts of tests, seconds, and what the tests wrote down."""

    part: Part
    passed: int
    failed: int
    seconds: float
    figures: list[dict[str, object]]


def parts(asked: argparse.Namespace) -> list[Part]:
    """What is to be run; a count of 0 leaves its part out."""
    every = [
        (
            asked.points,
            Part(
                "SIGKILL of the worker at an event boundary",
                ("services/runtime/tests/test_crashes.py", "services/runtime/tests/test_child_crashes.py"),
                {"SOAK_POINTS": str(asked.points)},
                asked.lanes,
            ),
        ),
        (
            asked.minutes,
            Part(
                "SIGKILL of the whole mesh under load",
                ("tests/test_soak.py",),
                {"SOAK_MINUTES": str(asked.minutes)},
            ),
        ),
        (
            asked.chaos,
            Part(
                "SIGKILL of one process after the other under load",
                ("tests/test_soak.py",),
                {"CHAOS_MINUTES": str(asked.chaos)},
            ),
        ),
        (
            asked.disconnects,
            Part(
                "SSE readers that leave and resume",
                ("tests/test_resuming.py",),
                {"SOAK_DISCONNECTS": str(asked.disconnects), "SOAK": "1"},
            ),
        ),
        (
            asked.parity,
            Part(
                "every surface in both placements",
                ("tests/test_surfaces.py", "tests/test_run_records.py", "tests/test_resources.py"),
                {"SOAK": "1"},
            ),
        ),
        (
            asked.vectors,
            Part(
                "vector stores with many passages",
                (
                    "libs/vectors/tests/test_faiss_index.py",
                    "libs/vectors/tests/test_point_stores.py",
                    "libs/vectors/tests/test_pgvector_store.py",
                ),
                {"SOAK_VECTORS": str(asked.vectors)},
            ),
        ),
    ]
    return [part for count, part in every if count]


def run(part: Part) -> Outcome:
    """Runs the part's tests; their own output goes to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        report, figures = Path(folder) / "report.xml", Path(folder) / "figures.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", f"--junitxml={report}", *part.tests]
        command += ["-n", str(part.lanes)] if part.lanes > 1 else []
        begun = time.monotonic()
        environment = {**os.environ, **part.variables, "SOAK_FIGURES": str(figures)}
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        seconds = time.monotonic() - begun
        lines = figures.read_text(encoding="utf-8").splitlines() if figures.exists() else []
        return Outcome(part, *counted(report), seconds, [json.loads(line) for line in lines])


def counted(report: Path) -> tuple[int, int]:
    """How many tests passed, and how many did not; skipped ones are neither."""
    if not report.exists():
        return 0, 1
    passed = failed = 0
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed += bool(kinds & {"failure", "error"})
        passed += not kinds & {"failure", "error", "skipped"}
    return passed, failed


def commit_now() -> str:
    """What is run: the commit, "-dirty" where the tree differs from it."""
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def section(outcomes: list[Outcome], commit: str) -> str:
    """The ledger's section of one run."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [f"\n## {when}", "", f"Commit {commit}; {machine}; load at the end {os.getloadavg()[0]:.1f}.", ""]
    lines += ["| what | counted | passed | failed | seconds |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        counts = " ".join(f"{name}={value}" for name, value in outcome.part.variables.items())
        row = (outcome.part.name, f"`{counts}`", outcome.passed, outcome.failed, f"{outcome.seconds:.0f}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    for outcome in outcomes:
        for figures in outcome.figures:
            told = ", ".join(f"{name} {value}" for name, value in figures.items() if name != "name")
            lines += ["", f"- {figures['name']}: {told}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="SIGKILL points of a worker")
    parser.add_argument("--lanes", type=int, default=3, help="of SIGKILL points side by side, as each mostly waits")
    parser.add_argument("--minutes", type=float, default=15.0, help="of whole-mesh kills under load")
    parser.add_argument("--chaos", type=float, default=5.0, help="minutes of kills of single processes under load")
    parser.add_argument("--disconnects", type=int, default=1000, help="of SSE readers, in each placement")
    parser.add_argument("--parity", type=int, default=1, help="0 leaves out the surfaces in both placements")
    parser.add_argument("--vectors", type=int, default=100_000, help="passages in each vector store")
    parser.add_argument("--only", choices=sorted(COUNTS), help="leaves out every other part")
    asked = parser.parse_args()
    if asked.only:
        for count in COUNTS - {asked.only}:
            setattr(asked, count, 0)
    commit = commit_now()
    outcomes = [run(part) for part in parts(asked)]
    told = section(outcomes, commit)
    before = LEDGER.read_text(encoding="utf-8") if LEDGER.exists() else TITLE
    LEDGER.write_text(before + told, encoding="utf-8")
    print(told)
    # A part of which every test was skipped has shown nothing.
    return int(any(outcome.failed or not outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
