"""Chunking and token counts, in Rust and by the twins, beside other chunkers: MB/s of mixed real text on one core."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from figures import Figure
from mixed_text import mixed_text
from processes import cores
from rivals import NotMeasured, environment, last_line

from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

SCENARIO = "Chunking: mixed real text, one core, chunks of 512 characters or 128 tokens"
SIZE = 10_000_000
TWINS_SHARE = 0.2
"""Of the text that is enough to measure the twins."""

_HERE = Path(__file__).parent
_TARGETS = {"recursive, characters": "≥ 110 MB/s", "recursive, tokens": "≥ 10 MB/s, counts exact"}
_RIVALS = "Chonkie, LangChain, semantic-text-splitter"
_PYTHONS = ("python3.11", "python3.12", "python3.13")


def measure(share: float) -> Iterator[Figure]:
    """`share` of the text, ours and theirs."""
    text = mixed_text(int(SIZE * min(share, 1.0)))
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        whole, part = Path(made) / "whole", Path(made) / "part"
        whole.write_text(text, encoding="utf-8", newline="")
        part.write_text(text[: int(len(text) * TWINS_SHARE)], encoding="utf-8", newline="")
        yield Figure(SCENARIO, "the text", "this machine's", _shown(text))
        yield from _ours(whole, part)
        yield from _theirs(whole)


def _ours(whole: Path, part: Path) -> Iterator[Figure]:
    rust = json.loads(_told([sys.executable, str(_HERE / "chunking_work.py"), str(whole)]))
    twin = json.loads(_told([sys.executable, str(_HERE / "chunking_work.py"), str(part)], {"ASTROMESH_NATIVE": "off"}))
    for what, rate in twin["rates"].items():
        if rust["of"] == "rust":
            times = f" ({rust['rates'][what] / rate:.1f} × its twin)"
            yield Figure(SCENARIO, what, "ours, Rust", _rate(rust["rates"][what]) + times, _TARGETS.get(what, ""))
        yield Figure(SCENARIO, what, "ours, pure Python", _rate(rate))
    if rust["of"] != "rust":
        yield Figure(SCENARIO, "all of it", "ours, Rust", "not measured: the extension is not built (make native)")


def _theirs(whole: Path) -> Iterator[Figure]:
    try:
        python = environment("rival_chunkers", *_PYTHONS)
        script = str(_HERE / "rival_chunkers" / "cut.py")
        told = _told([str(python), script, str(whole), str(find_model() / TOKENIZER_FILE)])
    except NotMeasured as reason:
        yield Figure(SCENARIO, "recursive, characters", _RIVALS, f"not measured: {reason}")
        return
    for line in json.loads(told):
        yield Figure(SCENARIO, line["what"], line["of"], _rate(line["rate"]))


def _told(command: list[str], settings: Mapping[str, str] | None = None) -> str:
    """What a process printed on the measured core, one thread a library. Raises NotMeasured with its last words."""
    done = subprocess.run(
        ["taskset", "-c", str(cores()[0]), *command],
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", **(settings or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured(f"{command[1]} ended with {done.returncode}: {last_line(done.stderr)}")
    return done.stdout


def _shown(text: str) -> str:
    """What a text is, so that another run can be compared."""
    data = text.encode()
    other = sum(byte >= 0x80 for byte in data) / len(data)
    return f"{len(data) / 1e6:.1f} MB, {other:.1%} not ASCII, sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def _rate(rate: float) -> str:
    return f"{rate:,.1f} MB/s" if rate >= 10 else f"{rate:.2f} MB/s"
