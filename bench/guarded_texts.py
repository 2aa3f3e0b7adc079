"""Texts that guardrails have to judge, with what is right to say of them, and how well somebody says it. Nothing is
timed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "labelled"
UNSEEN = "_unseen"

TOPICS = [
    {
        "name": "billing",
        "description": "invoices, payments, refunds and prices",
        "examples": [
            "I was charged too much",
            "Where do I find my invoice?",
            "I would like a refund",
            "How can I pay?",
            "The amount on my bill is wrong",
        ],
    },
    {
        "name": "shipping",
        "description": "delivery, parcels and tracking of orders",
        "examples": [
            "Where is my order?",
            "When will my parcel be delivered?",
            "The package never arrived",
            "What does shipping cost?",
            "Send it to another address",
        ],
    },
    {
        "name": "politics",
        "description": "parties, elections, governments and laws in dispute",
        "examples": [
            "Which party do you support?",
            "What do you think of the government?",
            "Is the new law right?",
            "Who will win the election?",
            "Should this politician resign?",
        ],
    },
    {
        "name": "health",
        "description": "illness, symptoms, medicines and medical advice",
        "examples": [
            "What can I do against a headache?",
            "How many pills may I take?",
            "Do these symptoms mean that I am ill?",
            "Should I see a doctor?",
            "Is this medicine dangerous?",
        ],
    },
]
"""As an agent would declare them: the first two allowed, the others blocked."""

ALLOWED, BLOCKED = ("billing", "shipping"), ("politics", "health")


class Judged(NamedTuple):
    """A text, the language that it is in, and whether it is what is looked for."""

    text: str
    language: str
    wanted: bool


class Asked(NamedTuple):
    """A question and its topic; `none` where it has none of TOPICS."""

    text: str
    topic: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer, what was retrieved for it, and whether that supports it."""

    text: str
    passages: tuple[str, ...]
    supported: bool


@dataclass(slots=True)
class Tally:
    """How many of what was looked for were found, and how many of what was found were right."""

    right: int = 0
    missed: int = 0
    wrong: int = 0
    missed_texts: list[str] = field(default_factory=list[str])
    wrong_texts: list[str] = field(default_factory=list[str])

    def add(self, text: str, *, wanted: bool, found: bool) -> None:
        """Counts a text."""
        self.right += wanted and found
        self.missed += wanted and not found
        self.wrong += found and not wanted
        if wanted and not found:
            self.missed_texts.append(text)
        if found and not wanted:
            self.wrong_texts.append(text)

    @property
    def precision(self) -> float:
        """Of what was found, how much was right."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Of what there was, how much was found."""
        return self.right / max(1, self.right + self.missed)

    def __str__(self) -> str:
        return f"{self.precision:.3f} / {self.recall:.3f}"


def tally(texts: Iterable[tuple[str, bool]], found: Sequence[bool]) -> Tally:
    """How well these texts were told apart."""
    counted = Tally()
    for (text, wanted), one in zip(texts, found, strict=True):
        counted.add(text, wanted=wanted, found=one)
    return counted


def injections(name: str = "injections") -> list[Judged]:
    """Attacks on a model's instructions, and harmless texts."""
    return [Judged(text, language, kind == "attack") for kind, language, text in _rows(name)]


def questions(name: str = "topics") -> list[Asked]:
    """Questions and their topics."""
    return [Asked(text, topic) for topic, text in _rows(name)]


def claims(name: str = "grounding") -> list[Claim]:
    """Sentences of answers, and what was retrieved for them."""
    found, passages = list[Claim](), tuple[str, ...]()
    for kind, text in _rows(name):
        if kind == "=":
            passages = (text,)
        else:
            found.append(Claim(text, passages, kind == "supported"))
    return found


def _rows(name: str) -> Iterator[list[str]]:
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# "):
            yield line.replace("\\n", "\n").split("\t")
