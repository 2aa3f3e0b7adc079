"""Turns what Pydantic found into problems that a person can act on: path as written, line, reason, hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from astromesh_core.resources import refused
from astromesh_core.resources.fields import Models, descend, field_names, spellings
from astromesh_core.resources.problems import Problem, did_you_mean, dotted
from astromesh_core.resources.spelling import Spec, snake
from astromesh_core.resources.yaml_documents import Path

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


class Explainer:
    """Explains the errors of one part of a document: `value`, validated as `model`, stands at `root` of a `kind`."""

    def __init__(self, kind: str, model: type[Spec], value: JsonValue, root: Path = ()) -> None:
        self._kind, self._model, self._value, self._root = kind, model, value, root

    def explain(self, error: ValidationError, file: str, lines: dict[Path, int]) -> list[Problem]:
        """Lists every error, in the order of the document's lines."""
        found = [self._problem(detail, file, lines) for detail in error.errors(include_url=False)]
        return sorted(dict.fromkeys(found), key=lambda problem: problem.line)

    def _problem(self, detail: ErrorDetails, file: str, lines: dict[Path, int]) -> Problem:
        below = self._written(detail["loc"], keep_last=detail["type"] in ("missing", "extra_forbidden"))
        path = (*self._root, *below)
        reason, hint, code = self._words(detail, below)
        return Problem(file, line_of(path, lines), dotted(path), reason, hint, code)

    def _written(self, location: Path, keep_last: bool) -> Path:
        """The path in the document: Pydantic's locations also name members of unions."""
        value, path = self._value, list[str | int]()
        for position, segment in enumerate(location):
            if isinstance(segment, int):
                if isinstance(value, list) and segment < len(value):
                    value = value[segment]
                    path.append(segment)
            elif isinstance(value, dict) and segment in value:
                value = value[segment]
                path.append(segment)
            elif keep_last and position == len(location) - 1:
                path.append(segment)
        return tuple(path)

    def _words(self, detail: ErrorDetails, below: Path) -> tuple[str, str, str]:
        kind, context = detail["type"], detail.get("ctx", {})
        if kind == "extra_forbidden":
            return self._unknown_field(below)
        if kind == "missing":
            return "is required and missing", "", "MissingField"
        if kind in ("literal_error", "union_tag_invalid", "union_tag_not_found"):
            return self._wrong_choice(detail, below)
        if kind in _WANTED:
            return (*_wrong_type(_WANTED[kind], detail["input"]), "InvalidValue")
        reason = detail["msg"].replace("Input should ", "must ").replace("String should ", "must ")
        return reason[:1].lower() + reason[1:], str(context.get("hint", "")), "InvalidValue"

    def _unknown_field(self, below: Path) -> tuple[str, str, str]:
        canonical, models = self._canonical(below[:-1])
        name = str(below[-1])
        key = ".".join((*self._prefix(), *canonical, snake(name)))
        known = refused.FIELDS.get(self._kind, {}).get(key)
        if known:
            return f"is not supported: {known}", "", "RefusedField"
        if self._given_otherwise(below, models):
            return "is given twice, under two spellings", "keep one", "DuplicateField"
        # A field of another type that may stand here is none of this one.
        names = [other for other in field_names(models) if other != name]
        return "is an unknown field", did_you_mean(name, names), "UnknownField"

    def _given_otherwise(self, below: Path, models: Models) -> bool:
        """Whether the field of this path is there in another spelling, too."""
        value = self._value
        for segment in below[:-1]:
            if isinstance(value, dict):
                value = value[str(segment)]
            elif isinstance(value, list) and isinstance(segment, int):
                value = value[segment]
        others = value.keys() - {str(below[-1])} if isinstance(value, dict) else set[str]()
        spelt = [names for model in models for names in spellings(model).values() if below[-1] in names]
        return any(others & set(names) for names in spelt)

    def _wrong_choice(self, detail: ErrorDetails, below: Path) -> tuple[str, str, str]:
        context = detail.get("ctx", {})
        if detail["type"] == "union_tag_not_found":
            return "has no type", "write type", "MissingField"
        value = str(context.get("tag", detail["input"]))
        canonical, _ = self._canonical(below)
        known = refused.VALUES.get(".".join((*self._prefix(), *canonical)), {}).get(value)
        if known:
            return f"{value!r} is not supported: {known}", "", "RefusedField"
        choices = str(context.get("expected", context.get("expected_tags", ""))).replace(" or ", ", ")
        hint = did_you_mean(value, [choice.strip(" '") for choice in choices.split(",")])
        what = "has the unknown type" if "tag" in context else "cannot be"
        return f"{what} {value!r}; it is one of {choices}", hint, "InvalidValue"

    def _canonical(self, below: Path) -> tuple[list[str], Models]:
        models: Models = frozenset((self._model,))
        canonical: list[str] = []
        for segment in below:
            if isinstance(segment, str):
                names, models = descend(models, segment)
                canonical.append(names[0])
        return canonical, models

    def _prefix(self) -> tuple[str, ...]:
        return ("spec",) if self._root else ()


def _wrong_type(wanted: str, given: object) -> tuple[str, str]:
    if given is None:
        return f"is empty; it must be {wanted}", "give it a value or leave the field out"
    names: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    hint = "put it in quotes" if wanted == "text" and isinstance(given, bool | int | float) else ""
    return f"must be {wanted}, not {names.get(type(given), 'this')}", hint


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """The line of a path, or of its nearest parent; 0 where the document has no lines."""
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 0)
