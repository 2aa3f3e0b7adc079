"""The classifier of topics: what it is trained to, its file, and the rule that asks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_guardrails.classifier import Classifier, crossed, trained
from astromesh_guardrails.policy import Policy
from astromesh_testing.embedding import WordEmbedder

from .judging import by_words, check, kinds, policy

SAID = [
    *(
        ("billing", text)
        for text in ("my invoice is wrong", "pay the invoice", "refund my payment", "the invoice", "a bill")
    ),
    *(
        ("votes", text)
        for text in ("vote for the party", "the election", "which party wins", "a vote", "party politics")
    ),
    *(("none", text) for text in ("bake some bread", "the weather", "sing a song", "a blue bird", "how tall is it")),
]
LABELS = [label for label, _ in SAID]
DIMENSION = 1024


@pytest.fixture
def made(tmp_path: Path) -> Classifier:
    vectors = asyncio.run(WordEmbedder(DIMENSION).embed([text for _, text in SAID]))
    classifier = trained(EmbeddingsSpec(), vectors, LABELS)
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "shop.json").write_text(classifier.to_json())
    return classifier


def filtered(folder: Path, **said: object) -> Policy:
    rule = {"type": "topic_filter", "method": "classifier", "classifier": "topics/shop.json", **said}
    return policy(rule, sources=by_words(folder))


def test_it_tells_the_examples_apart_and_the_same_examples_make_the_same_file(made: Classifier) -> None:
    vectors = asyncio.run(WordEmbedder(DIMENSION).embed([text for _, text in SAID]))
    assert made.topics == ("billing", "votes")
    best = [made.topics[int(row.argmax())] if row.max() >= 0.5 else "none" for row in made.sureness(vectors)]
    assert best == LABELS
    assert trained(EmbeddingsSpec(), vectors, LABELS).to_json() == made.to_json()
    assert 0.3 < crossed(EmbeddingsSpec(), vectors, LABELS) <= 1


def test_the_rule_blocks_what_its_classifier_says_it_is_about(made: Classifier, tmp_path: Path) -> None:
    rules = filtered(tmp_path, blocked_topics=["votes"])
    assert kinds(check(rules, "Good morning. Which party gets your vote?")) == ["TOPIC:votes"]
    assert not check(rules, "The invoice, please.").blocked
    allowed = filtered(tmp_path, allowed_topics=["billing"])
    assert not check(allowed, "The invoice, please.").blocked
    assert kinds(check(allowed, "Sing a song")) == ["OFF_TOPIC"]


def test_what_was_trained_is_part_of_the_policy(made: Classifier, tmp_path: Path) -> None:
    before = filtered(tmp_path, blocked_topics=["votes"]).sha256
    changed = made.model_copy(update={"bias": (0.0, 1.0)})
    (tmp_path / "topics" / "shop.json").write_text(changed.to_json())
    assert filtered(tmp_path, blocked_topics=["votes"]).sha256 != before


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (None, r"guardrails\.input\[0\]: there is no topics/shop\.json"),
        ("no json", "is no classifier"),
        ('{"embeddings":{},"topics":["votes"],"weights":[[1.0],[2.0]],"bias":[0.0]}', "equally many weights"),
        (
            '{"embeddings":{},"topics":["other"],"weights":[[1.0]],"bias":[0.0]}',
            "knows nothing of votes; it knows other",
        ),
    ],
)
def test_a_file_that_is_no_classifier_for_the_rule_is_refused(tmp_path: Path, written: str | None, reason: str) -> None:
    if written is not None:
        (tmp_path / "topics").mkdir()
        (tmp_path / "topics" / "shop.json").write_text(written)
    with pytest.raises(InvalidInput, match=reason):
        filtered(tmp_path, blocked_topics=["votes"])


def test_a_classifier_of_another_model_is_a_problem_of_its_rule(made: Classifier, tmp_path: Path) -> None:
    short = made.model_copy(update={"weights": ((1.0,), (1.0,))})
    (tmp_path / "topics" / "shop.json").write_text(short.to_json())
    (problem,) = asyncio.run(filtered(tmp_path, blocked_topics=["votes"]).problems())
    assert (problem.place, problem.reason) == ("guardrails.input[0]", "InvalidInput")
    assert "vectors of 1 numbers" in problem.message


def test_examples_of_one_topic_alone_train_nothing() -> None:
    vectors = asyncio.run(WordEmbedder(DIMENSION).embed(["a", "b"]))
    with pytest.raises(InvalidInput, match="nothing to tell apart"):
        trained(EmbeddingsSpec(), vectors, ["x", "x"])
    with pytest.raises(InvalidInput, match="too few examples"):
        crossed(EmbeddingsSpec(), vectors, ["x", "y"])
