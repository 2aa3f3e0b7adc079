"""Texts with what is to be found in them, and how well somebody finds it. Nothing is timed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "labelled"
_LABEL = re.compile(r"⟦([A-Z_]+):(.*?)⟧", re.DOTALL)


class Found(NamedTuple):
    """Characters of a text, and what they are."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, and all that is to be found in it."""

    text: str
    labels: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What was found of what there was. A label counts as found where it is covered whole, for a half is a leak; a
    finding counts as right where it touches a label of its kind."""

    labels: int
    covered: int
    findings: int
    right: int

    def __str__(self) -> str:
        precision, recall = self.right / max(1, self.findings), self.covered / max(1, self.labels)
        return f"{precision:.3f} / {recall:.3f}"


def labelled(name: str) -> list[Labelled]:
    """The texts of a file of the folder `labelled`."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    return [_read(line.replace("\\n", "\n")) for line in lines if line and not line.startswith("# ")]


def languages(name: str) -> list[str]:
    """Of each text of such a file the language that the heading above it names."""
    found, language = list[str](), ""
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line.startswith("# -- "):
            language = line.removeprefix("# -- ")
        elif line and not line.startswith("# "):
            found.append(language)
    return found


def _read(line: str) -> Labelled:
    text, labels, done = "", list[Found](), 0
    for label in _LABEL.finditer(line):
        text += line[done : label.start()]
        labels.append(Found(len(text), len(text) + len(label[2]), label[1]))
        text += label[2]
        done = label.end()
    return Labelled(text + line[done:], tuple(labels))


def score(texts: Sequence[Labelled], found: Sequence[Sequence[Found]], kinds: frozenset[str]) -> Score:
    """How well the texts' labels of these kinds were found; `found` has the findings of each text."""
    pairs = [_of_kinds(text, findings, kinds) for text, findings in zip(texts, found, strict=True)]
    return Score(
        labels=sum(len(labels) for labels, _ in pairs),
        covered=sum(_is_covered(label, findings) for labels, findings in pairs for label in labels),
        findings=sum(len(findings) for _, findings in pairs),
        right=sum(_is_right(finding, labels) for labels, findings in pairs for finding in findings),
    )


def _of_kinds(text: Labelled, findings: Sequence[Found], kinds: frozenset[str]) -> tuple[list[Found], list[Found]]:
    return [found for found in text.labels if found.kind in kinds], [found for found in findings if found.kind in kinds]


def _is_covered(label: Found, findings: Sequence[Found]) -> bool:
    return any(one.kind == label.kind and one.start <= label.start and label.end <= one.end for one in findings)


def _is_right(finding: Found, labels: Sequence[Found]) -> bool:
    return any(one.kind == finding.kind and one.start < finding.end and finding.start < one.end for one in labels)
