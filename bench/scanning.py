"""Scanning text for personal data and verifying hash chains: ours in Rust and in Python, others on the same texts."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import Figure
from labelled_texts import Found, Labelled, labelled, score
from mixed_text import mixed_text
from processes import cores
from rivals import NotMeasured, environment, last_line

from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.events.chain import GENESIS, seal, verify_chain
from astromesh_core.events.contents import text_content
from astromesh_guardrails.numbering import numbering_plan
from astromesh_native.choice import CHOICE
from astromesh_native.keywords import matcher
from astromesh_native.personal_data import scanner
from astromesh_native.spans import ENTITIES

SCENARIO = "Scanning text for personal data"
CHAINS = "Verifying a hash chain"
COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "BR")
COMPARED = frozenset(("EMAIL", "PHONE", "IBAN", "CREDIT_CARD", "US_SSN", "IP_ADDRESS"))
KEYS = frozenset(("API_KEY", "PRIVATE_KEY"))
LABELLED = ("personal_data", "personal_data_unseen")
SIZE = 10_000_000
SHORT, SHORT_TEXTS = 1_024, 2_000
LONG = 100_000
"""Characters that the rivals get at a time: some take quadratic time over more."""
WORDS = 10_000
TRIALS = 5
"""Of what takes no second; the best one counts."""
EVENTS = 10_000
"""As many as the longest run has."""

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Scanned:
    """How fast somebody scans, and what it found in the labelled texts."""

    rate: float
    latencies: Sequence[float]
    found: Sequence[Sequence[Found]]


@dataclass(frozen=True, slots=True)
class Texts:
    """What everybody scans."""

    long: str
    short: Sequence[str]
    labelled: Sequence[Labelled]


def measure(share: float) -> Iterator[Figure]:
    """Of scanning and of verifying. One core each, one after the other."""
    whole = mixed_text(SIZE)
    texts = Texts(
        long=whole[: max(LONG, int(len(whole) * min(share, 1.0)))],
        short=[whole[place : place + SHORT] for place in range(0, SHORT * SHORT_TEXTS, SHORT)],
        labelled=[text for name in LABELLED for text in labelled(name)],
    )
    for name, slower, scan in _scanners():
        try:
            yield from _figures(name, texts, scan(_lessened(texts, slower)))
        except NotMeasured as error:
            yield Figure(SCENARIO, "10 MB of mixed text", name, f"not measured: {error}")
    yield from _words(texts)
    yield from _chains()


def _words(texts: Texts) -> Iterator[Figure]:
    """As many words as no text has, and some that this one has."""
    listed = [*_FORBIDDEN, *(f"word{number} of a list" for number in range(WORDS - len(_FORBIDDEN)))]
    for rust in (True, False) if CHOICE.rust else (False,):
        find = matcher(listed, rust=rust).find
        text = texts.long if rust else texts.long[: len(texts.long) // 10]
        begun = time.perf_counter()
        count = len(find(text))
        rate = len(text.encode()) / (time.perf_counter() - begun) / 1e6
        name = "ours, Rust" if rust else "ours, Python"
        yield Figure(SCENARIO, f"{WORDS:,} forbidden words, {count:,} found", name, f"{rate:.2f} MB/s")


def _scanners() -> Iterator[tuple[str, float, Callable[[Texts], Scanned]]]:
    """Everybody, with the share of the long text that is enough to measure it."""
    if CHOICE.rust:
        yield "ours, Rust", 1.0, lambda texts: _timed(_ours(rust=True), texts)
    yield "ours, Python", 0.1, lambda texts: _timed(_ours(rust=False), texts)
    yield "plain re", 0.2, lambda texts: _timed(_by_patterns, texts)
    yield "Presidio 2.2.366, pattern recognisers", 0.02, presidio


def _lessened(texts: Texts, share: float) -> Texts:
    if share == 1.0:
        return texts
    return Texts(texts.long[: max(LONG, int(len(texts.long) * share))], texts.short[:200], texts.labelled)


def _figures(name: str, texts: Texts, scanned: Scanned) -> Iterator[Figure]:
    is_ours = name == "ours, Rust"
    latencies = sorted(scanned.latencies)
    p99 = latencies[int(len(latencies) * 0.99)] * 1e6
    yield Figure(SCENARIO, "mixed text", name, f"{scanned.rate / 1e6:.2f} MB/s", "≥ 100 MB/s" if is_ours else "")
    yield Figure(SCENARIO, "a text of 1 KiB, p99", name, f"{p99:.1f} µs", "≤ 50 µs" if is_ours else "")
    done = 0
    for file in LABELLED:
        count = len(labelled(file))
        part, found = texts.labelled[done : done + count], scanned.found[done : done + count]
        done += count
        seen = "written after most of the rules" if file.endswith("unseen") else "that the rules were tuned on"
        yield Figure(SCENARIO, f"precision / recall, {count} texts {seen}", name, str(score(part, found, COMPARED)))
        if name.startswith("ours"):
            yield Figure(SCENARIO, f"the same of keys and tokens, {count} texts", name, str(score(part, found, KEYS)))


def _timed(scan: Callable[[str], Sequence[Found]], texts: Texts) -> Scanned:
    scan(texts.short[0])
    walls = list[float]()
    for _ in range(TRIALS if len(texts.short) == SHORT_TEXTS else 1):
        begun = time.perf_counter()
        scan(texts.long)
        walls.append(time.perf_counter() - begun)
    rate = len(texts.long.encode()) / min(walls)
    latencies = list[float]()
    for text in texts.short:
        begun = time.perf_counter()
        scan(text)
        latencies.append(time.perf_counter() - begun)
    return Scanned(rate, latencies, [scan(text.text) for text in texts.labelled])


def _ours(*, rust: bool) -> Callable[[str], Sequence[Found]]:
    ours = scanner(ENTITIES, [numbering_plan(country) for country in COUNTRIES], rust=rust)
    return lambda text: [Found(*span) for span in ours.scan(text)]


_FORBIDDEN = (
    "confidential",
    "deprecated",
    "internal use",
    "warranty",
    "backdoor",
    "vulnerability",
    "do not use",
    "hack",
)
# As they stand in tutorials, and in many a product.
_PATTERNS = {
    "EMAIL": re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b"),
    "PHONE": re.compile(r"(?:\+?\d{1,3}[-. ]?)?\(?\d{2,4}\)?[-. ]?\d{3,4}[-. ]?\d{3,4}\b"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    "CREDIT_CARD": re.compile(r"\b(?:\d[ -]?){12,18}\d\b"),
    "US_SSN": re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
    "IP_ADDRESS": re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})+\b"),
}


def _by_patterns(text: str) -> list[Found]:
    return [Found(*found.span(), kind) for kind, pattern in _PATTERNS.items() for found in pattern.finditer(text)]


def presidio(texts: Texts) -> Scanned:
    interpreter = environment("rival_presidio", "python3.11", "python3.12", "python3.13")
    asked = {
        "texts": [text.text for text in texts.labelled],
        "long": [texts.long[place : place + LONG] for place in range(0, len(texts.long), LONG)],
        "short": texts.short,
        "countries": COUNTRIES,
    }
    command = ["taskset", "-c", str(cores()[0]), str(interpreter), str(_HERE / "rival_presidio" / "scan.py")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"it ended with {done.returncode}: {last_line(done.stderr)}")
    answer = json.loads(done.stdout)
    found = [[Found(*one) for one in findings] for findings in answer["found"]]
    return Scanned(answer["rate"], answer["latencies"], found)


def _chains() -> Iterator[Figure]:
    head, events = GENESIS, list[bytes]()
    for _ in range(EVENTS):
        envelope = Envelope(aggregate_id="r-1", namespace="default")
        envelope.run.completed.answer.CopyFrom(text_content("x" * 400))
        data, head = seal(envelope, head)
        events.append(data)
    walls = list[float]()
    for _ in range(TRIALS):
        begun = time.perf_counter()
        verdict = verify_chain(events)
        walls.append(time.perf_counter() - begun)
        assert verdict.ok, verdict.reason
    wall, size = min(walls), len(events[0])
    yield Figure(CHAINS, f"{EVENTS:,} events of {size} bytes", "ours", f"{EVENTS / wall:,.0f} events/s", "≥ 200,000")
