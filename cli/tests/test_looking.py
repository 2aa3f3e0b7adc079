"""`runs` and `rag` against a mesh: tables for people, documents for scripts, proofs by exit code."""

from __future__ import annotations

from .conftest import Terminal


def test_a_run_is_listed_shown_and_proved(terminal: Terminal) -> None:
    run_id = terminal.asked()
    listed = terminal("runs", "list", "--limit", "2").out.splitlines()
    assert listed[0].split() == ["RUN", "AGENT", "STATUS", "REQUESTED", "TOOK", "QUESTION"]
    assert run_id in listed[1]
    shown = terminal("runs", "show", run_id).out
    for part in ("Question", "Timeline", "tool succeeded", "Answer", "Sources", "boats.md", "completed"):
        assert part in shown
    assert "replay identical" in terminal("runs", "replay", run_id).out
    assert terminal("runs", "replay", run_id, "--json").document()["identical"] is True
    assert "chain intact" in terminal("runs", "verify", run_id).out
    assert terminal("runs", "verify", run_id, "--json").document()["ok"] is True


def test_a_rating_is_shown_with_its_run(terminal: Terminal) -> None:
    run_id = terminal.asked()
    assert "completed" in terminal("runs", "rate", run_id, "bad", "--comment", "too long").out
    assert "too long" in terminal("runs", "show", run_id).out
    feedback = terminal("runs", "show", run_id, "--json").document()["feedback"]
    assert isinstance(feedback, list)
    (said,) = feedback
    assert isinstance(said, dict)
    assert said["rating"] == -1


def test_events_are_a_table_a_document_or_lines(terminal: Terminal) -> None:
    run_id = terminal.asked()
    assert "tool_intended" in terminal("runs", "events", run_id).out
    events = terminal("runs", "events", run_id, "--json").document()["events"]
    assert isinstance(events, list)
    lines = terminal("runs", "events", run_id, "--follow", "--json").lines()
    assert [line["id"] for line in lines if line["id"]] == [str(index) for index in range(len(events))]
    assert terminal("runs", "events", run_id, "--follow").out.strip().endswith("done")


def test_cancelling_what_has_ended_fails_and_settling_what_is_known_conflicts(terminal: Terminal) -> None:
    run_id = terminal.asked()
    assert "completed" in terminal("runs", "cancel", run_id, code=1).out
    refused = terminal("runs", "resolve", run_id, "2.1", "--outcome", "failed", code=1)
    assert "no step '2.1' whose outcome is unknown" in refused.err


def test_ingesting_tells_what_changed_and_querying_finds_it(terminal: Terminal) -> None:
    summary = terminal("rag", "ingest", "docs", "--json").document()
    assert (summary["unchanged"], summary["refused"]) == (2, [])
    assert "2 up to date" in terminal("rag", "ingest", "docs").err
    found = terminal("rag", "query", "docs", "bread", "-k", "1").out
    assert found.startswith("1. bread.md")
    filtered = ("rag", "query", "docs", "bread", "-k", "1", "--filter")
    assert not terminal(*filtered, '{"source": {"$ne": "bread.md"}}').out.startswith("1. bread.md")
    assert terminal(*filtered, '{"source": "bread.md"}').out.startswith("1. bread.md")
    assert "no operator" in terminal(*filtered, '{"source": {"$like": "b"}}', code=1).err
    assert "is no JSON" in terminal(*filtered, "source=bread.md", code=2).err
    assert "there is no" in terminal("rag", "ingest", "nothing", code=1).err
