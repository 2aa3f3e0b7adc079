"""`guardrails test` against a mesh."""

from __future__ import annotations

from .conftest import Terminal


def test_a_stage_without_rules_is_told(terminal: Terminal) -> None:
    asked = terminal("guardrails", "test", "librarian", "--text", "hello", "--stage", "tool_results")
    assert (asked.out, asked.err.strip()) == ("", "there are no rules at tool_results: any text passes")
