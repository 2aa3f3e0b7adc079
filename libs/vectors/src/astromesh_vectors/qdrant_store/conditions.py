"""Filters as Qdrant has them. Pure. Source: https://qdrant.tech/documentation/concepts/filtering/"""

from __future__ import annotations

import sys

from qdrant_client import models

from astromesh_core.filters import Equals, Every, Exists, Filter, Not, OneOf, Some, Within
from astromesh_vectors.point_store.tokens import NEVER, key_token, number_name, value_token

FACTS = "facts"
NUMBERS = "numbers"


def condition_of(where: Filter) -> models.Condition:
    """The condition that is met by the same points."""
    match where:
        case Every(parts):
            return models.Filter(must=[condition_of(part) for part in parts])
        case Some(parts):
            # An empty `should` is met by all.
            return models.Filter(should=[condition_of(part) for part in parts]) if parts else _fact(NEVER)
        case Not(part):
            return models.Filter(must_not=[condition_of(part)])
        case Equals(key, value):
            return _fact(value_token(key, value))
        case OneOf(key, values):
            return _fact(*(value_token(key, value) for value in values)) if values else _fact(NEVER)
        case Exists(key):
            return _fact(key_token(key))
        case Within():
            return _within(where)


def _fact(*tokens: str) -> models.FieldCondition:
    return models.FieldCondition(key=FACTS, match=models.MatchAny(any=list(tokens)))


def _within(bounds: Within) -> models.FieldCondition:
    at_least = bounds.at_least
    if bounds.above is None and bounds.below is None and bounds.at_most is None and at_least is None:
        at_least = -sys.float_info.max
    wanted = models.Range(gt=bounds.above, gte=at_least, lt=bounds.below, lte=bounds.at_most)
    return models.FieldCondition(key=f"{NUMBERS}.{number_name(bounds.key)}", range=wanted)
