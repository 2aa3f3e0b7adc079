"""What the benchmarks do where something is missing. What they measure is no test's business."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


def nowhere(name: str) -> None:
    """No interpreter of any name."""
    del name


def test_a_rival_that_cannot_run_here_is_a_line_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    durable_runs, rivals = importlib.import_module("durable_runs"), importlib.import_module("rivals")
    monkeypatch.setattr(rivals, "_ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(rivals, "_working", nowhere)
    for rival in rivals.ALL:
        (line,) = durable_runs.theirs(rival, "http://127.0.0.1:9/v1", "one-tool", 1.0)
        assert line.of == rival.name
        assert line.value.startswith("not measured: needs python3.")
