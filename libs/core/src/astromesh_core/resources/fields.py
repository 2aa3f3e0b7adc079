"""Walks spec models by path: which fields stand where, in which spellings. Knows no kind and no document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import get_args

from pydantic import AliasChoices

from astromesh_core.resources.spelling import Spec

Models = frozenset[type[Spec]]


@cache
def spellings(model: type[Spec]) -> dict[str, tuple[str, ...]]:
    """Maps each field of a model to every name it is read under, the canonical one first."""
    return {name: _names(name, field.validation_alias) for name, field in model.model_fields.items()}


def _names(name: str, alias: object) -> tuple[str, ...]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return tuple(dict.fromkeys([name, *(choice for choice in choices if isinstance(choice, str))]))


def descend(models: Models, segment: str) -> tuple[tuple[str, ...], Models]:
    """Steps into a field, given in any spelling: its spellings, and the models that may stand there.

    A segment that is no field (the key of a free mapping) stays where it is.
    """
    names: list[str] = []
    inner: set[type[Spec]] = set()
    for model in models:
        for field, spelt in spellings(model).items():
            if segment in spelt:
                names.extend(spelt)
                inner.update(_models_in(model.model_fields[field].annotation))
    return (tuple(dict.fromkeys(names)), frozenset(inner)) if names else ((segment,), models)


def field_names(models: Iterable[type[Spec]]) -> list[str]:
    """Lists every name that is understood where one of these models stands."""
    return [name for model in models for spelt in spellings(model).values() for name in spelt]


def _models_in(annotation: object) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
