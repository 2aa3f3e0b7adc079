"""The examples of docs/patterns.md load as they stand, and use nothing that is not built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text

PAGE = Path(__file__).resolve().parents[4] / "docs" / "patterns.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_pattern_has_an_example() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_loads(text: str) -> None:
    loaded = load_text(text, "patterns.yaml")
    assert loaded.problems == ()
    (resource,) = loaded.resources
    assert unsupported(resource) == []
