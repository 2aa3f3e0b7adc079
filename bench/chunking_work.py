"""Our chunkers and counters on a text in a file, one way after the other; prints MB/s as JSON. Runs in a process of its
own, so that ASTROMESH_NATIVE chooses between Rust and the twins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from astromesh_native.choice import CHOICE
from astromesh_native.chunking import Chunker, headings, sentence_edges
from astromesh_vectors.chunking import SEPARATORS, Chunking, Strategy, Unit, chunk, ruler_of
from astromesh_vectors.minilm.tokens import MiniLMWords

SIZE = {"characters": 512, "tokens": 128}
_STRATEGIES: tuple[Strategy, ...] = ("recursive", "fixed", "sentence")
_UNITS: tuple[Unit, ...] = ("characters", "tokens")

Work = Callable[[], object]


def ways(text: str) -> Iterator[tuple[str, int, Work]]:
    """What is measured: its name, the bytes that it reads, and the work."""
    words, size = MiniLMWords(), len(text.encode())
    words.count("loads the vocabulary")
    for unit in _UNITS:
        for strategy in _STRATEGIES:
            chunking = Chunking(SIZE[unit], 0, strategy=strategy, unit=unit)
            yield f"{strategy}, {unit}", size, lambda c=chunking: chunk(text, c, ruler=ruler_of(text, c, words))
    overlapping = Chunking(SIZE["characters"], 50)
    yield "recursive, markdown, overlap", size, lambda: chunk(text, overlapping, markdown=True)
    chunker = Chunker("recursive", SIZE["characters"], 0, SEPARATORS)
    yield "recursive, characters, places alone", size, lambda: chunker.spans(text, [(0, len(text))])
    yield "headings", size, lambda: headings(text)
    yield "sentence edges", size, lambda: sentence_edges(text)
    yield "token count", size, lambda: words.count(text)
    endless = "x" * size
    by_tokens = Chunking(SIZE["tokens"], 0, unit="tokens")
    yield "recursive, no separator", size, lambda: chunk(endless, Chunking(SIZE["characters"], 0))
    yield (
        "recursive, tokens, no blank",
        size,
        lambda: chunk(endless, by_tokens, ruler=ruler_of(endless, by_tokens, words)),
    )


def best(work: Work, rounds: int) -> float:
    """Seconds of the quickest round."""
    times = list[float]()
    for _ in range(rounds):
        begun = perf_counter()
        work()
        times.append(perf_counter() - begun)
    return min(times)


def main() -> None:
    text = Path(sys.argv[1]).read_bytes().decode()
    rounds = 3 if CHOICE.rust else 1
    rates = {name: size / best(work, rounds) / 1e6 for name, size, work in ways(text)}
    print(json.dumps({"of": CHOICE.name, "rates": rates}))


if __name__ == "__main__":
    main()
