"""`costs`: what is asked for, and how it is told. That the sums are right is shown where budgets are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest
import typer

from astromesh_cli.commands.costs import groups, moment

from .conftest import Terminal

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90m", "2026-03-15T10:30:00+00:00"),
        ("12h", "2026-03-15T00:00:00+00:00"),
        ("7d", "2026-03-08T12:00:00+00:00"),
        ("2w", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01", "2026-03-01T00:00:00+00:00"),
        ("2026-03-01T06:00:00+02:00", "2026-03-01T06:00:00+02:00"),
    ],
)
def test_a_time_is_a_day_an_hour_or_so_long_ago(text: str, time: str) -> None:
    assert moment(text, NOW).isoformat() == time


@pytest.mark.parametrize("text", ["yesterday", "7", "7x", "99999999w", "2026-13-01"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no time"):
        moment(text, NOW)


def test_costs_are_grouped_by_what_is_named() -> None:
    assert groups("model, day") == ["model", "day"]
    for wrong in ("colour", "", ",", "model,colour"):
        with pytest.raises(typer.BadParameter, match="is none of agent"):
            groups(wrong)


def test_costs_are_a_table_for_people_and_a_document_for_scripts(terminal: Terminal) -> None:
    terminal.asked()
    told = terminal("costs", "--by", "agent,model", "--since", "1h", "--agent", "librarian").out.splitlines()
    assert told[0].split() == ["AGENT", "MODEL", "CALLS", "ESTIMATED", "INPUT", "CACHED", "OUTPUT", "COST"]
    assert told[1].split()[:2] == ["librarian", "extractive"]
    assert told[-1].split()[0] == "TOTAL"
    assert told[-1].endswith("$0.000000")
    document = terminal("costs", "--by", "principal", "--json").document()
    assert document["by"] == ["principal"]
    assert [each["principal"] for each in cast("list[dict[str, str]]", document["costs"])] == ["anonymous"]
    assert terminal("costs", "--until", "1w", "--json").document()["costs"] == []


def test_wrong_usage_is_told_as_such(terminal: Terminal) -> None:
    assert "is none of agent" in terminal("costs", "--by", "colour", code=2).err
    assert "is no time" in terminal("costs", "--since", "once", code=2).err
