"""`memory` against a mesh: what an agent would be told of earlier runs, and making it again."""

from __future__ import annotations

from typing import Any, cast

from .conftest import Terminal

QUESTION = "When does the ferry to Elba leave?"


def test_what_is_remembered_is_searched_and_made_again(terminal: Terminal) -> None:
    session = ("--session", "cli")
    asked = terminal("run", "rememberer", QUESTION, *session, "--json").document()
    terminal("runs", "rate", str(asked["run_id"]), "good", "--comment", "to the minute")
    shown = terminal("memory", "search", "rememberer", QUESTION, *session).out
    for part in (
        str(asked["run_id"]),
        "said in run",
        f"User: {QUESTION}",
        "completed",
        "search ×1",
        "+1 to the minute",
    ):
        assert part in shown
    found = terminal("memory", "search", "rememberer", QUESTION, *session, "--json").document()
    (episode,) = cast("list[dict[str, Any]]", found["episodes"])
    assert episode["run_id"] == asked["run_id"]
    assert "nothing" in terminal("memory", "search", "rememberer", QUESTION, "--user", "somebody else").err
    rebuilt = terminal("memory", "rebuild", "rememberer", "--json").document()
    assert (rebuilt["semantic"], rebuilt["episodic"]) == (1, 1)
    assert "1 runs by what was said" in terminal("memory", "rebuild", "rememberer").err
    assert str(asked["run_id"]) in terminal("memory", "search", "rememberer", QUESTION, *session).out


def test_an_agent_that_is_not_there_is_told(terminal: Terminal) -> None:
    for arguments in (("search", "nobody", "x"), ("rebuild", "nobody")):
        assert "there is no" in terminal("memory", *arguments, code=1).err
