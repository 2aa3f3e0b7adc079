"""Sentences out of markdown, and the ones nearest to a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_vectors.nearest import best, word_scores
from astromesh_vectors.sentences import sentences


def shown(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Dr. Smith met J. Doe, e.g. on Monday. They spoke.", ["Dr. Smith met J. Doe, e.g. on Monday.", "They spoke."]),
        ("Version 2.5 is out. It costs 3.50 euros.", ["Version 2.5 is out.", "It costs 3.50 euros."]),
        ('He said "Stop!" Then he left.', ['He said "Stop!"', "Then he left."]),
        ("A line\nthat wraps. Next", ["A line that wraps.", "Next"]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("# Title\nBody here.\n\n---\n\nMore.", ["Body here.", "More."]),
        ("Before.\n```python\ncode. Not prose.\n```\nAfter.", ["Before.", "After."]),
        ("| a | b |\n|---|---|\n| 1. | 2 |\nText.", ["Text."]),
        (
            "- first item\n- second item. With two\n  lines\n1. third",
            ["first item", "second item.", "With two lines", "third"],
        ),
        ("> quoted words.", ["quoted words."]),
        ("- [x] done thing", ["done thing"]),
        ("snake_case_name stays.", ["snake_case_name stays."]),
        ("", []),
        ("\n\n  \n", []),
        ("***", []),
    ],
)
def test_splits_prose_and_leaves_the_rest(text: str, expected: list[str]) -> None:
    assert shown(text) == expected


def test_links_and_emphasis_are_read_not_shown() -> None:
    assert shown("See [the guide](https://example.org) and **bold** `code`.") == ["See the guide and bold code."]


@given(st.text(st.sampled_from("aB.!? \n\r#-`|>*_[]()。1é"), max_size=200) | st.text(max_size=100))
def test_offsets_lie_in_order_and_name_the_place(text: str) -> None:
    before = 0
    for sentence in sentences(text):
        assert before <= sentence.start < sentence.end <= len(text)
        assert sentence.text[:1] in text[sentence.start : sentence.end]
        assert not text[sentence.start].isspace()
        before = sentence.end


QUESTION = "How does the runtime keep events safe?"
TEXTS = [
    "The gateway listens on a port.",
    "The runtime keeps every event safe in the log.",
    "An event is small.",
    "Bananas are yellow.",
]


def test_the_sentence_that_shares_the_rarest_words_is_nearest() -> None:
    scores = word_scores(QUESTION, TEXTS)
    assert scores[1] == max(scores) == pytest.approx(1.0)
    assert scores[1] > scores[2] > scores[3] == 0.0
    assert best(TEXTS, scores, limit=2, min_score=0.1) == [1, 2]


def test_nothing_near_enough_is_nothing() -> None:
    assert best(TEXTS, word_scores("Who won the cup?", TEXTS), limit=3, min_score=0.2) == []
    assert word_scores("what is the", TEXTS) == [0.0] * 4
    assert word_scores(QUESTION, []) == []


def test_a_repeated_sentence_is_chosen_once() -> None:
    assert best(["Same here.", "same here", "Other."], [0.5, 0.9, 0.4], limit=3, min_score=0.0) == [1, 2]


@given(st.text(max_size=60), st.lists(st.text(max_size=40), max_size=8))
def test_word_scores_lie_between_zero_and_one(question: str, texts: list[str]) -> None:
    assert all(0.0 <= score <= 1.0 + 1e-9 for score in word_scores(question, texts))
