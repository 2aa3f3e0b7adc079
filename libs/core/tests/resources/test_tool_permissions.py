"""What rules say of a tool call: deny wins, what is allowed bounds the rest, and what nobody can tell is denied."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.tool_permissions import Permits, ToolPermissions, given_arguments


def permits(**rules: object) -> Permits:
    return Permits(ToolPermissions.model_validate(rules))


def spec(permissions: object, *tools: dict[str, object]) -> AgentSpec:
    model = {"primary": {"provider": "ollama", "model": "m"}}
    return AgentSpec.model_validate_json(orjson.dumps({"model": model, "tools": tools, "permissions": permissions}))


REFUND: dict[str, object] = {"name": "refund", "type": "internal", "function": "shop:refund"}


@pytest.mark.parametrize(
    ("rules", "tool", "role", "arguments", "allowed"),
    [
        ({"deny": ["drop_*"]}, "drop_table", "admin", {}, False),
        ({"deny": ["drop_*"]}, "find", "viewer", {}, True),
        ({"allow": ["find"]}, "drop_table", "admin", {}, False),
        ({"allow": ["*"], "deny": ["drop_*"]}, "drop_table", "admin", {}, False),
        ({"allowedActions": ["find"]}, "find", "user", {}, True),
        ({"deny": [{"tool": "refund", "when": "amount > 100"}]}, "refund", "user", {"amount": 101}, False),
        ({"deny": [{"tool": "refund", "when": "amount > 100"}]}, "refund", "user", {"amount": 100}, True),
        ({"deny": [{"tool": "refund", "when": "amount > 100"}]}, "refund", "user", {}, False),
        ({"deny": [{"tool": "refund", "when": "amount > 100"}]}, "refund", "user", {"amount": "a lot"}, False),
        ({"deny": [{"tool": "refund", "when": "amount > 100"}]}, "refund", "user", None, False),
        ({"allow": [{"tool": "refund", "when": "amount <= 100"}]}, "refund", "user", {}, False),
        ({"allow": [{"tool": "refund", "when": "amount <= 100"}]}, "refund", "user", {"amount": 3}, True),
        ({"deny": [{"tool": "refund", "roles": ["user"]}]}, "refund", "user", {}, False),
        ({"deny": [{"tool": "refund", "roles": ["user"]}]}, "refund", "admin", {}, True),
        ({"deny": [{"tool": "refund", "roles": ["user"]}]}, "refund", "", {}, False),
        ({"allow": [{"tool": "refund", "roles": ["admin"]}]}, "refund", "", {}, False),
        ({"allow": [{"tool": "refund", "roles": ["admin"]}]}, "refund", "admin", {}, True),
    ],
)
def test_deny_wins_and_what_nobody_can_tell_is_denied(
    rules: dict[str, object], tool: str, role: str, arguments: dict[str, object] | None, allowed: bool
) -> None:
    refusal = permits(**rules).refusal(tool, role, arguments)  # pyright: ignore[reportArgumentType]  # JSON of a test
    assert (refusal == "") is allowed
    assert allowed or tool in refusal


def test_a_refusal_says_which_rule_and_why() -> None:
    rule = {"tool": "refund", "when": "amount > 100", "roles": ["user"], "reason": "ask an admin"}
    assert permits(deny=[rule]).refusal("refund", "user", {"amount": 200}) == (
        "this call of refund is not permitted: denied by the rule 'refund when amount > 100 for user': ask an admin"
    )


def test_a_condition_sees_the_defaults_of_what_is_left_out() -> None:
    parameters = '{"type": "object", "properties": {"amount": {"type": "integer", "default": 500}, "to": {}}}'
    assert given_arguments('{"to": "Ann"}', parameters) == {"to": "Ann", "amount": 500}
    assert given_arguments("[1]", parameters) is None
    assert given_arguments("{", parameters) is None


@pytest.mark.parametrize(
    ("permissions", "told"),
    [
        ({"deny": ["refnud"]}, "about the tool 'refnud', which there is not"),
        ({"deny": [{"tool": "refund", "when": "amount >"}]}, "is no condition"),
        ({"deny": [{"tool": "refund", "roles": ["boss"]}]}, "'viewer', 'user' or 'admin'"),
        ({"deny": ["re fund"]}, "is not a tool's name or a pattern"),
        ({}, "allow and deny nothing"),
        ({"filesystem": {}, "deny": ["refund"]}, "Extra inputs"),
    ],
)
def test_rules_that_mean_nothing_are_refused_at_load(permissions: object, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec(permissions, REFUND)
    assert told in str(refused.value)


def test_tools_of_a_server_may_be_named_before_they_are_known() -> None:
    mcp: dict[str, object] = {"name": "files", "type": "mcp_http", "url": "http://localhost:1/mcp"}
    assert spec({"deny": ["delete_file"]}, REFUND, mcp).permissions is not None
