"""Sentences of a text as a reader sees them: on one line, without links and emphasis, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from astromesh_native.twins.sentences import sentence_spans

_SPACE = re.compile(r"\s+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_EMPHASIS = re.compile(r"(\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`start` to `end` is where it stands in the text; `text` is how it reads: one line, without links and emphasis."""

    text: str
    start: int
    end: int


def sentences(text: str) -> list[Sentence]:
    """The sentences of `text`, in order and apart from each other. Text without any gives none."""
    shown = ((_shown(raw), start, end) for raw, start, end in sentence_spans(text))
    return [Sentence(*each) for each in shown if any(letter.isalnum() for letter in each[0])]


def _shown(raw: str) -> str:
    return _SPACE.sub(" ", _EMPHASIS.sub("", _LINK.sub(r"\1", raw))).strip()
