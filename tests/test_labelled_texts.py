"""How well the scan finds what the benchmarks' labelled texts hold. How fast, and who else, is the benchmark's."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from astromesh_guardrails.numbering import numbering_plan
from astromesh_native.choice import RUST
from astromesh_native.personal_data import scanner
from astromesh_native.spans import ENTITIES

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return importlib.import_module("labelled_texts")


@pytest.mark.parametrize("rust", [False, pytest.param(True, marks=pytest.mark.skipif(not RUST, reason="not built"))])
@pytest.mark.parametrize(
    ("name", "precision", "recall"),
    [("personal_data", 0.95, 0.98), ("personal_data_unseen", 0.9, 0.93), ("personal_data_languages", 0.95, 0.99)],
)
def test_what_is_found_in_the_labelled_texts(
    bench: ModuleType, rust: bool, name: str, precision: float, recall: float
) -> None:
    countries = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "BR")
    scan = scanner(ENTITIES, [numbering_plan(country) for country in countries], rust=rust).scan
    texts = bench.labelled(name)
    kinds = frozenset(label.kind for text in texts for label in text.labels)
    score = bench.score(texts, [scan(text.text) for text in texts], kinds)
    assert score.labels > 30
    assert score.right / score.findings >= precision, score
    assert score.covered / score.labels >= recall, score
