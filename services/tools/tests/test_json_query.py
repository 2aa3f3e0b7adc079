"""JSON queries: what a path finds, what is refused, and that no path costs without bound."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput, LimitExceeded
from astromesh_testing.contracts.placement import Placement
from astromesh_tools.builtin.json_query import MOST_CHARACTERS, queried

from .serving import running

ORDERS: JsonValue = {"orders": [{"id": "a", "total": 40}, {"id": "b", "total": 160}, {"id": "c"}], "by": {"id": "me"}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.by.id", "me"),
        ("$.by.name", None),
        ("$.orders[?@.total > 100].id", ["b"]),
        ("$.orders[?@.total > 1000].id", []),
        ("$..id", ["a", "b", "c", "me"]),
        ("$.orders[-1]", {"id": "c"}),
        ("$.orders[?count(@.*) == 1].id", ["c"]),
        ("$", ORDERS),
    ],
)
def test_finds(path: str, found: JsonValue) -> None:
    assert queried(ORDERS, path) == found
    assert queried(orjson.dumps(ORDERS).decode(), path) == found


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ("{not json", "$.a", "data is not JSON"),
        ("[1]", "orders.id", "is no JSONPath"),
        ("[1]", "$[?match(@, '(a+)+$')]", "'match' is not defined"),
        ("[1]", "$[?search(@, '(a+)+$')]", "'search' is not defined"),
        ("[" * 900 + "]" * 900, "$..*", "nested too deeply"),
        ("[1]", "$" + "[?@" * 300 + "]" * 300, "is no JSONPath"),
        ("[" + "1," * MOST_CHARACTERS + "1]", "$[0]", "characters"),
    ],
)
def test_refuses_with_a_reason(data: str, path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        queried(data, path)
    assert reason in caught.value.message


@pytest.mark.parametrize("path", ["$..[?count($..*) > 1]", "$[*,*,*][*,*,*][*,*,*]..*", "$..[?$..a]"])
def test_a_path_without_end_is_given_up(path: str) -> None:
    nested = orjson.dumps([[[1] * 30] * 30] * 30).decode()
    with pytest.raises(LimitExceeded):
        queried(nested, path)


async def test_a_model_queries_what_it_has(tmp_path: Path, placement: Placement) -> None:
    async with running(tmp_path / "tools", placement) as mesh:
        agent = mesh.agents.add({"name": "json_query", "type": "builtin"})
        arguments = {"data": ORDERS, "path": "$.orders[*].id"}
        assert await mesh.output(agent, "json_query", orjson.dumps(arguments).decode()) == '["a","b","c"]'
