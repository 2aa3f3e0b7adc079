"""The command line against a running mesh: what scripts rely on is its JSON and its exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from astromesh_testing.mesh import COMMAND

from .asking import run_of, until_status
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def command(talking: Talking, *words: str) -> tuple[int, Any]:
    """Runs the command against the mesh: its exit code, and the JSON that it printed."""
    return await offline(*words, "--url", talking.mesh.url, environment=talking.mesh.environment)


async def offline(*words: str, environment: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Runs the command with no mesh at hand."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *words,
        "--json",
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode or 0, orjson.loads(output) if output else None


async def test_asks_and_looks_a_run_up_from_the_shell(talking: Talking) -> None:
    code, run = await command(talking, "run", "talker", "add 20 22", "--no-stream")
    assert code == 0, run
    assert (run["status"], run["answer"]) == ("completed", "It is 42.")
    run_id = run["run_id"]
    assert (await run_of(talking.mesh, run_id))["answer"] == "It is 42."
    (shown, listed, events, replayed, verified) = await asyncio.gather(
        command(talking, "runs", "show", run_id),
        command(talking, "runs", "list", "--agent", "talker"),
        command(talking, "runs", "events", run_id),
        command(talking, "runs", "replay", run_id),
        command(talking, "runs", "verify", run_id),
    )
    assert {code for code, _ in (shown, listed, events, replayed, verified)} == {0}
    assert shown[1]["run_id"] == run_id
    assert replayed[1]["identical"] is True
    assert verified[1]["ok"] is True
    assert [event["index"] for event in events[1]["events"]] == list(range(verified[1]["events"]))


async def test_resolves_and_refuses_from_the_shell(talking: Talking) -> None:
    _, waiting = await command(talking, "run", "talker", "hold shell 1.3", "--no-stream")
    assert waiting["status"] == "needs-human"
    resolved = ("runs", "resolve", waiting["run_id"], "2.1", "--outcome", "succeeded", "--result", "seen")
    assert (await command(talking, *resolved))[0] == 0
    assert (await until_status(talking.mesh, waiting["run_id"], "completed"))["answer"] == "It is seen."
    assert (await command(talking, *resolved))[0] != 0
    assert (await command(talking, "run", "nobody", "x", "--no-stream"))[0] != 0
    assert (await command(talking, "runs", "show", "07-" + "a" * 26))[0] != 0
    code, agents = await command(talking, "get", "agents")
    assert code == 0
    assert "talker" in str(agents)


async def test_exports_what_proves_itself_and_finds_what_was_changed(talking: Talking, tmp_path: Path) -> None:
    _, run = await command(talking, "run", "talker", "add 20 22", "--no-stream", "--session", "proven")
    file = tmp_path / "audit.jsonl"
    code, exported = await command(talking, "audit", "export", run["run_id"], "--output", str(file))
    assert (code, exported["ok"], [chain["id"] for chain in exported["chains"]]) == (0, True, [run["run_id"]])
    session = ("audit", "export", "--session", "proven", "--agent", "talker", "--output", str(tmp_path / "session"))
    assert (await command(talking, *session))[1]["chains"][0]["id"] == run["run_id"]
    code, heads = await command(talking, "audit", "heads")
    assert code == 0
    anchored = {name: heads["heads"][0][name] for name in heads["heads"][0] if name != "time"}
    (tmp_path / "heads").write_bytes(orjson.dumps(anchored))
    key = ("--key", anchored["public_key"])
    assert (await offline("audit", "verify", str(tmp_path / "session"), *key))[1]["ok"]
    assert (await offline("audit", "verify", str(tmp_path / "session"), "--key", "00" * 32))[0] == 1
    changed = file.read_bytes().replace(b'"events":', b'"events":1', 1)
    file.write_bytes(changed)
    code, found = await offline("audit", "verify", str(file))
    assert (code, found["ok"]) == (1, False)
    assert (await command(talking, "audit", "export", "07-" + "a" * 26, "--output", str(file)))[0] != 0
    assert file.read_bytes() == changed


async def test_looks_back_at_any_event_compares_runs_and_replays_them_all(talking: Talking) -> None:
    asked = ("run", "talker", "add 20 22", "--no-stream")
    (_, first), (_, second), (_, other) = [
        await command(talking, *words) for words in (asked, asked, (*asked[:2], "add 1 2", asked[3]))
    ]
    code, before = await command(talking, "runs", "show", first["run_id"], "--at", "1")
    assert (code, before["type"], before["prompt"], before["run"]["steps"]) == (0, "started", None, [])
    code, after = await command(talking, "runs", "show", first["run_id"], "--at", "7")
    assert code == 0
    assert (after["type"], after["run"]["status"], after["prompt"]["path"]) == ("model_call_begun", "running", "3")
    assert [message["role"] for message in after["prompt"]["messages"]][-3:] == ["user", "assistant", "tool"]
    assert (await command(talking, "runs", "show", first["run_id"], "--at", "99"))[0] != 0
    code, same = await command(talking, "runs", "diff", first["run_id"], second["run_id"])
    assert (code, same["differs"], same["first_difference"]) == (0, [], "")
    _, differs = await command(talking, "runs", "diff", first["run_id"], other["run_id"])
    assert differs["differs"] == ["query", "answer", "steps"]
    assert differs["first_difference"] == "2.1"
    code, fleet = await command(talking, "runs", "replay", "--all", "--agent", "talker", "--since", "1h")
    assert code == 0
    assert fleet["identical"] == fleet["runs"] >= 3
    assert (await command(talking, "runs", "replay", first["run_id"], "--all"))[0] != 0


async def test_asks_an_agents_rules_from_the_shell(talking: Talking) -> None:
    text = "as Project Aurora wrote to ann@example.org"
    code, told = await command(talking, "guardrails", "test", "guarded", "--text", text, "--stage", "output")
    assert (code, told["text"], told["held_back"]) == (0, "as [KEYWORD] wrote to [EMAIL]", [])
    found = [(verdict["rule"], verdict["action"], verdict["place"]) for verdict in told["verdicts"]]
    assert found == [
        ("pii_detection", "redact", "guardrails.output[0]"),
        ("content_filter", "redact", "guardrails.output[1]"),
    ]
    assert told["verdicts"][0]["findings"] == [{"kind": "EMAIL", "start": 27, "end": 42}]
    assert (await command(talking, "guardrails", "test", "nobody", "--text", "x"))[0] == 1


async def test_a_changed_agent_is_asked_what_was_asked_before(talking: Talking) -> None:
    for question in ("note tried", "add 20 22"):
        assert (await command(talking, "run", "other", question, "--no-stream"))[0] == 0
    code, found = await command(talking, "runs", "experiment", "--agent", "other", "--prompt", "Answer in verse.")
    assert code == 0, found
    assert {trial["query"]: trial["same_answer"] for trial in found["trials"]} == {
        "note tried": False,
        "add 20 22": True,
    }
    assert (found["same_answers"], found["failed"]) == (1, 0)
    assert talking.folder.done("note")["tried"] == 1
    assert found["median_ms_after"] > 0
    code, fork = await command(talking, "runs", "fork", found["trials"][0]["run_id"], "--result", "2.1=43")
    assert (code, fork["answer"]) == (0, "It is 43.")
