"""A trained classifier of topics: for each a weight for every number of a text's vector, in a small JSON file of which
nothing is run.

`{"format": "astromesh-topics/1", "embeddings": {"provider": …, "model": …}, "topics": ["billing", …],
"weights": [[…], …], "bias": […]}`

A text with the unit vector v is about topic t as surely as 1 / (1 + exp(-(weights[t] · v + bias[t]))).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.spelling import Items, Spec

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

NONE: Final = "none"
"""Of an example that is about none of the topics."""

SURE: Final = 0.5
"""How sure it has to be, unless told otherwise."""

MOST_BYTES: Final = 16 * 1024 * 1024
_ROUNDS: Final = 400
_RATE: Final = 4.0
_DECAY: Final = 1e-3
"""Of gradient descent on the logistic loss with L2, where those of a topic and all others weigh the same: enough for
some thousand examples, and the same file for the same examples."""

FOLDS: Final = 5
"""Into which examples are cut to judge each by what was trained on the others."""


class Classifier(Spec):
    """What was trained, as its file holds it."""

    format: Literal["astromesh-topics/1"] = "astromesh-topics/1"
    embeddings: EmbeddingsSpec
    topics: Items[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    weights: Items[Items[float]]
    bias: Items[float]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        lengths = {len(row) for row in self.weights}
        if not len(self.topics) == len(self.weights) == len(self.bias) or len(lengths) != 1 or 0 in lengths:
            raise PydanticCustomError("classifier", "has not a row of equally many weights and a bias for each topic")
        return self

    def sureness(self, vectors: Vectors) -> Vectors:
        """How sure each text is about each topic, from 0 to 1; `(texts, topics)`. Raises InvalidInput for vectors of
        another length than it was trained on."""
        import numpy as np

        self.check(vectors.shape[1])
        weights = np.asarray(self.weights, dtype=np.float32)
        logits = vectors @ weights.T + np.asarray(self.bias, dtype=np.float32)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    def check(self, dimension: int) -> None:
        """Raises InvalidInput where it was trained on vectors of another length."""
        if dimension != len(self.weights[0]):
            trained_on = f"the classifier was trained on vectors of {len(self.weights[0])} numbers"
            raise InvalidInput(f"{trained_on}, and its model makes some of {dimension}")


def read_classifier(folder: Path, path: str) -> Classifier:
    """The classifier in a file of the config folder. Raises NotFound for one that is not there, InvalidInput for one
    that is no classifier."""
    file = folder / path
    if not file.is_file():
        raise NotFound(f"there is no {path} in the config folder; `astromesh guardrails train` writes one")
    if file.stat().st_size > MOST_BYTES:
        raise InvalidInput(f"{path} has more than {MOST_BYTES // 1024 // 1024} MiB")
    try:
        return Classifier.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{path} is no classifier: {error.errors()[0]['msg']}") from error


def trained(embeddings: EmbeddingsSpec, vectors: Vectors, labels: Sequence[str]) -> Classifier:
    """What tells the texts of these vectors apart by their labels; those labelled `none` are about no topic.

    Raises InvalidInput where there is no topic, or a topic that all examples have.
    """
    topics = sorted(set(labels) - {NONE})
    if not topics or len(set(labels)) == 1:
        raise InvalidInput(
            "there is nothing to tell apart: give examples of two topics at least, or of one and of none"
        )
    fitted = [_fitted(vectors, [label == topic for label in labels]) for topic in topics]
    return Classifier(
        embeddings=embeddings,
        topics=tuple(topics),
        weights=tuple(weights for weights, _ in fitted),
        bias=tuple(bias for _, bias in fitted),
    )


def crossed(embeddings: EmbeddingsSpec, vectors: Vectors, labels: Sequence[str]) -> float:
    """How many of the examples are judged right, from 0 to 1, each by what was trained on four fifths of the others.

    Raises InvalidInput where there are too few of a topic for that.
    """
    right = 0
    for fold in range(FOLDS):
        held = [place for place in range(len(labels)) if place % FOLDS == fold]
        rest = [place for place in range(len(labels)) if place % FOLDS != fold]
        if not held or {labels[place] for place in rest} != {*labels}:
            raise InvalidInput(f"there are too few examples to judge by: write {FOLDS} of each topic at least")
        made = trained(embeddings, vectors[rest], [labels[place] for place in rest])
        for place, sure in zip(held, made.sureness(vectors[held]), strict=True):
            best = int(sure.argmax())
            right += labels[place] == (made.topics[best] if sure[best] >= SURE else NONE)
    return right / len(labels)


def _fitted(vectors: Vectors, belongs: Sequence[bool]) -> tuple[tuple[float, ...], float]:
    import numpy as np
    from numpy.typing import NDArray

    wanted: NDArray[np.float64] = np.asarray(belongs, dtype=np.float64)
    positive = sum(belongs)
    share: NDArray[np.float64] = np.where(wanted == 1, 0.5 / positive, 0.5 / (len(belongs) - positive))
    rows: NDArray[np.float64] = vectors.astype(np.float64)
    weights: NDArray[np.float64] = np.zeros(len(vectors[0]), dtype=np.float64)
    bias = 0.0
    for _ in range(_ROUNDS):
        error: NDArray[np.float64] = (1 / (1 + np.exp(-(rows @ weights + bias))) - wanted) * share
        weights = weights - _RATE * (rows.T @ error + _DECAY * weights)
        bias -= _RATE * float(np.sum(error))
    return tuple(round(float(weight), 6) for weight in weights), round(bias, 6)
