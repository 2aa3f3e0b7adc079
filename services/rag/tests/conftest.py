"""Both placements, and a config folder with documents."""

from pathlib import Path

import pytest

from astromesh_testing.contracts.placement import placement

__all__ = ["placement"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config folder whose `knowledge` holds two documents."""
    knowledge = tmp_path / "config" / "knowledge"
    (knowledge / "deep").mkdir(parents=True)
    (knowledge / "rivers.md").write_text("# Rivers\n\nThe Rhine flows through Basel.\n\n## Small\n\nThe Birs is short.")
    (knowledge / "deep" / "towers.md").write_text("# Towers\n\nThe tallest tower of Basel is the Roche tower.")
    return knowledge.parent
