"""`memory` against a mesh: sessions and persons, listed, shown, exported and forgotten."""

from __future__ import annotations

import secrets
from typing import Any, cast

from .conftest import Terminal

QUESTION = "When does the ferry to Elba leave?"


def test_a_session_is_listed_shown_exported_and_cleared(terminal: Terminal) -> None:
    session = f"cli-{secrets.token_hex(4)}"
    asked = terminal("run", "librarian", QUESTION, "--session", session, "--json").document()
    assert session in terminal("memory", "sessions", "librarian").out
    listed = cast("list[dict[str, Any]]", terminal("memory", "sessions", "librarian", "--json").document()["sessions"])
    assert [it["turns"] for it in listed if it["session_id"] == session] == [1]
    shown = terminal("memory", "show", "librarian", session).out
    for part in (f"user: {QUESTION}", "assistant: ", "assistant calls search", str(asked["run_id"])):
        assert part in shown
    export = terminal("memory", "export", "librarian", session).document()
    assert export["session_id"] == session
    history = cast("list[dict[str, Any]]", export["history"])
    assert (history[0]["content"], history[-1]["content"]) == (QUESTION, asked["answer"])
    assert (export["turns"], export["episodes"]) == (1, [])
    assert "has forgotten" in terminal("memory", "clear", "librarian", session).err
    assert "remembers nothing" in terminal("memory", "show", "librarian", session).err
    assert terminal("memory", "export", "librarian", session).document()["history"] == []


def test_a_person_is_exported_and_forgotten(terminal: Terminal) -> None:
    user = f"ada-{secrets.token_hex(4)}"
    terminal("run", "librarian", QUESTION, "--session", f"s-{user}", "--user", user)
    sessions = cast("list[dict[str, Any]]", terminal("memory", "export-user", user).document()["sessions"])
    assert [it["turns"] for it in sessions] == [1]
    assert terminal("memory", "forget-user", user, "--json").document() == {"user": user, "sessions": 1}
    assert terminal("memory", "export-user", user).document()["sessions"] == []
    assert "in 0 sessions" in terminal("memory", "forget-user", user).err


def test_an_agent_that_is_not_there_is_told(terminal: Terminal) -> None:
    for arguments in (("sessions", "nobody"), ("show", "nobody", "s"), ("clear", "nobody", "s")):
        assert "there is no" in terminal("memory", *arguments, code=1).err
