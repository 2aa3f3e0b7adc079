"""`guardrails train` says what is wrong with its examples, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from astromesh_cli.app import app


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("billing my invoice\n", "examples.tsv:1: write a topic, a tab and a text"),
        ("# a comment\n\nbilling\t \n", "examples.tsv:3: write a topic"),
        ("billing\tmy invoice\nbilling\ta bill\n", "nothing to tell apart"),
        (None, "cannot be read"),
    ],
)
def test_examples_that_train_nothing_are_refused(tmp_path: Path, said: str | None, reason: str) -> None:
    file = tmp_path / "examples.tsv"
    if said is not None:
        file.write_text(said)
    result = CliRunner().invoke(app, ["guardrails", "train", str(file), "--output", str(tmp_path / "out.json")])
    assert result.exit_code == 2
    assert reason in result.output.replace("\n", "") + result.stderr.replace("\n", "")
    assert not (tmp_path / "out.json").exists()
