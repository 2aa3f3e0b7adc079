"""The real sentence-transformers behind its adapters, from the environment that `make bench ARGS=embedding` makes.

It is no part of this folder's requirements: with it come 3 GB of PyTorch and CUDA.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / "build" / "bench" / "rival_sentence_transformers"
FOUND = sorted(ENVIRONMENT.glob("lib/python*/site-packages/sentence_transformers"))


@pytest.mark.timeout(600)
@pytest.mark.skipif(not FOUND, reason="there is no environment with sentence-transformers: make bench ARGS=embedding")
def test_the_adapters_do_what_the_library_does(tmp_path: Path) -> None:
    script = str(HERE / "sentence_transformers_process.py")
    command = [sys.executable, script, str(FOUND[0].parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
