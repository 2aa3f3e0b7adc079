"""Schemas from signatures and docstrings, and what a function is given for what a model wrote."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from threading import Event
from typing import Annotated, Literal

import orjson
import pytest
from pydantic import Field

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.user_code.foreign import Raised
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.arguments import ArgumentsSchema, Signature
from astromesh_tools.docstrings import read_docstring


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Item:
    name: str
    count: int = 1


def schema_of(signature: Signature) -> dict[str, object]:
    return orjson.loads(ArgumentsSchema(signature.schema).text)


def test_reads_both_styles_of_docstring() -> None:
    text = "Finds it.\nQuickly.\n\nMore.\n\nArgs:\n    a (int): the first\n        of two\n    b: other\n\n"
    google = text + "Returns:\n    c: no"
    assert read_docstring(google) == ("Finds it. Quickly.", {"a": "the first of two", "b": "other"})
    assert read_docstring("Finds.\n\n:param a: one\n:param int b: two\n:returns: x").parameters == {
        "a": "one",
        "b": "two",
    }
    assert read_docstring("") == ("", {})


def test_types_become_schemas_and_values_come_back_as_types() -> None:
    def order(
        item: Item, size: Size, speed: Literal["slow", "fast"] = "slow", n: Annotated[int, Field(ge=1)] = 1
    ) -> None:
        """Orders."""

    signature = Signature(order, "order")
    read = ArgumentsSchema(signature.schema).read('{"item": {"name": "tea"}, "size": "l"}')
    assert signature.convert(read) == {"item": Item("tea"), "size": Size.LARGE}
    with pytest.raises(InvalidInput, match="speed"):
        ArgumentsSchema(signature.schema).read('{"item": {"name": "tea"}, "size": "l", "speed": "warp"}')
    with pytest.raises(InvalidInput, match="less than the minimum"):
        ArgumentsSchema(signature.schema).read('{"item": {"name": "tea"}, "size": "l", "n": 0}')


def test_parameters_may_be_named_like_anything() -> None:
    def odd(json: str, copy: int, model_fields: str = "x", _private: int = 0) -> None: ...

    signature = Signature(odd, "odd")
    assert signature.convert({"json": "a", "copy": 1, "_private": 2}) == {"json": "a", "copy": 1, "_private": 2}


def test_a_parameter_without_a_hint_takes_anything() -> None:
    def loose(a, b=1) -> None: ...  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType] - the point

    signature = Signature(loose, "loose")  # pyright: ignore[reportUnknownArgumentType] - the point
    assert schema_of(signature)["required"] == ["a"]
    assert signature.convert({"a": [1]}) == {"a": [1]}


def test_keyword_arguments_are_passed_on() -> None:
    def free(a: int, **more: object) -> None: ...

    signature = Signature(free, "free")
    assert signature.convert(ArgumentsSchema(signature.schema).read('{"a": 1, "z": 2}')) == {"a": 1, "z": 2}


def test_what_cannot_be_given_by_name_is_refused() -> None:
    def positional(a: int, /) -> None: ...

    def many(*a: int) -> None: ...

    def unheld(a: Event) -> None: ...

    for function in (positional, many, unheld):
        with pytest.raises(InvalidInput, match="here"):
            Signature(function, "here")


def test_a_schema_is_fetched_from_nowhere() -> None:
    with pytest.raises(InvalidInput, match="only what stands in it"):
        ArgumentsSchema({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}})


def test_arguments_that_are_wrong_a_hundred_thousand_times_are_judged_at_once() -> None:
    schema = ArgumentsSchema({"type": "object", "properties": {"a": {"items": {"type": "string"}}}})
    begun = time.perf_counter()
    with pytest.raises(InvalidInput, match=r"a\.0: 0 is not of type"):
        schema.read(orjson.dumps({"a": [0] * 100_000}).decode())
    assert time.perf_counter() - begun < 1


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no JSON Schema"):
        ArgumentsSchema({"type": "object", "properties": {"a": {"type": "integer", "minimum": "x"}}})


def test_threads_are_bounded_and_hold_what_was_raised() -> None:
    threads = DaemonThreads(2)
    go, at_once = Event(), [threads.submit(lambda: None) for _ in range(2)]
    for future in at_once:
        future.result(2)
    blocked = [threads.submit(lambda: go.wait(5)) for _ in range(2)]
    waiting = threads.submit(lambda: 7)
    assert not waiting.running()
    go.set()
    assert waiting.result(2) == 7
    assert all(future.result(2) for future in blocked)
    with pytest.raises(Raised, match="ZeroDivisionError"):
        threads.submit(lambda: 1 // 0).result(2)
    threads.close()
    with pytest.raises(Unavailable):
        threads.submit(lambda: None)
