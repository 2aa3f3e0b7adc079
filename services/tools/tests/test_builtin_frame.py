"""What is true of every built-in tool: how it is listed, what it does with wrong arguments, and that it costs nothing
where there is none. The current time stands here, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest

from astromesh.v1.tools_pb2 import DescribeToolsRequest
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ
from astromesh_core.resources.builtin_tools import BUILTINS
from astromesh_testing.contracts.placement import Placement

from .serving import Mesh, failed, running

# 2026-03-29T00:59:59.5Z: half a second before clocks in Zurich go forward.
NOW = 1_774_745_999_500_000_000


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement, clock=lambda: NOW) as mesh:
        yield mesh


def builtin(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "type": "builtin", **fields}


async def test_the_catalogue_lists_what_a_model_is_told(mesh: Mesh) -> None:
    agent = mesh.agents.add(
        builtin("calculator", timeout=5), builtin("when", tool="datetime_now", description="Ask me.")
    )
    calculator, when = (await mesh.stub.DescribeTools(DescribeToolsRequest(agent=agent))).tools
    assert (calculator.name, calculator.type, calculator.timeout_ms) == ("calculator", "builtin", 5000)
    assert (calculator.effect, when.effect) == (TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_READ)
    assert calculator.description == BUILTINS["calculator"].description
    assert orjson.loads(calculator.parameters_json) == BUILTINS["calculator"].parameters
    assert (when.name, when.description) == ("when", "Ask me.")


async def test_wrong_arguments_and_late_calls_are_told_and_nothing_is_done(mesh: Mesh) -> None:
    agent = mesh.agents.add(builtin("calculator"))
    kind, message = failed(await mesh.call(agent, "calculator", '{"expresion": "1"}'))
    assert (kind, "expresion" in message) == ("invalid-input", True)
    assert failed(await mesh.call(agent, "calculator", '{"expression": "1"}', start_before=1))[0] == "timed-out"


@pytest.mark.parametrize(
    ("config", "arguments", "shown"),
    [
        ({}, "{}", ("2026-03-29T00:59:59+00:00", "UTC")),
        ({"timezone": "Europe/Zurich"}, "{}", ("2026-03-29T01:59:59+01:00", "Europe/Zurich")),
        ({"timezone": "Europe/Zurich"}, '{"timezone": "Asia/Kolkata"}', ("2026-03-29T06:29:59+05:30", "Asia/Kolkata")),
    ],
)
async def test_the_time_is_told_in_the_zone_of_the_call_else_of_the_config(
    mesh: Mesh, config: dict[str, str], arguments: str, shown: tuple[str, str]
) -> None:
    agent = mesh.agents.add(builtin("datetime_now", config=config))
    told = orjson.loads(await mesh.output(agent, "datetime_now", arguments))
    assert told == {"datetime": shown[0], "timezone": shown[1], "weekday": "Sunday", "unix": 1_774_745_999}


@pytest.mark.parametrize(
    ("zone", "hint"),
    [("Zurich", "'Europe/Zurich'"), ("Europe/Zuerich", "'Europe/Zurich'"), ("new york", "'America/New_York'")],
)
async def test_a_time_zone_that_there_is_not_is_refused_with_the_nearest(mesh: Mesh, zone: str, hint: str) -> None:
    agent = mesh.agents.add(builtin("datetime_now"))
    kind, message = failed(await mesh.call(agent, "datetime_now", orjson.dumps({"timezone": zone}).decode()))
    assert (kind, f"did you mean {hint}?" in message) == ("invalid-input", True), message


@pytest.mark.parametrize("zone", ["../../../etc/passwd", "/etc/localtime", "", "\u0000", "x" * 5000])
async def test_what_is_no_name_of_a_zone_reads_no_file(mesh: Mesh, zone: str) -> None:
    agent = mesh.agents.add(builtin("datetime_now"))
    response = await mesh.call(agent, "datetime_now", orjson.dumps({"timezone": zone}).decode())
    assert failed(response)[0] == "invalid-input" if zone else response.HasField("result")


def test_a_mesh_without_built_in_tools_imports_nothing_for_them() -> None:
    heavy = ("bs4", "markdownify", "psycopg", "jsonpath", "sqlite3")
    script = f"import sys, astromesh_tools.app\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
