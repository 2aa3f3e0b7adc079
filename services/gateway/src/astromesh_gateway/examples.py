"""What requests and answers look like, by operation, for the OpenAPI document."""

from __future__ import annotations

from astromesh_gateway.documentation import RUN_EXAMPLE, Extra

_RUN_ID = RUN_EXAMPLE["run_id"]
_TIME = "2026-03-01T09:30:00.000000Z"
_RECORD: Extra = {
    **RUN_EXAMPLE,
    "namespace": "default",
    "query": "What happens to a run when its worker dies?",
    "principal": "support-team",
    "events": 9,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "requested_at": _TIME,
    "started_at": _TIME,
    "ended_at": "2026-03-01T09:30:01.250000Z",
}
_AGENT: Extra = {
    "name": "docs-agent",
    "namespace": "default",
    "version": "1.0.0",
    "managed_by": "file",
    "generation": 3,
    "sha256": "9029d96fa7cf7f9342bb81ad553e6c4ae4d351ee1e33452ca63a0f4868d556d4",
    "ready": True,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllConditionsTrue",
            "message": "",
            "last_transition": _TIME,
        }
    ],
    "created_at": _TIME,
    "changed_at": _TIME,
    "spec": {"model": {"primary": {"provider": "ollama", "model": "llama3.1:8b"}}},
}
_RESOURCE: Extra = {
    **_AGENT,
    "kind": "Agent",
    "cells": ["docs-agent", "Docs", "ollama", "llama3.1:8b", "react", "true", "3d"],
}
_PASSAGE: Extra = RUN_EXAMPLE["sources"][0]
_PARAMETERS: Extra = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
_TOOL: Extra = {
    "agent": "docs-agent",
    "name": "search_docs",
    "type": "rag",
    "description": "Finds passages of the documentation",
    "effect": "read",
    "timeout_ms": 30000,
    "version": "5a0c9d3f1b7e",
    "parameters": _PARAMETERS,
}
_COMPLETION: Extra = {
    "id": f"chatcmpl-{_RUN_ID}",
    "object": "chat.completion",
    "created": 1772357400,
    "model": "docs-agent",
    "run_id": _RUN_ID,
    "session_id": "tuesday",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": RUN_EXAMPLE["answer"], "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 310, "completion_tokens": 42, "total_tokens": 352},
}
_COST: Extra = {
    "calls": 412,
    "estimated_calls": 3,
    "input_tokens": 301_220,
    "output_tokens": 48_310,
    "cached_input_tokens": 120_000,
    "cache_written_tokens": 0,
    "reasoning_tokens": 0,
    "estimated": True,
    "cost_usd": 1.2362,
}
_EVENT: Extra = {
    "index": 0,
    "position": f"{_RUN_ID}:0",
    "type": "requested",
    "time": _TIME,
    "producer": "gateway/mesh-3f661c65",
    "event": {"agent": "docs-agent", "query": {"text": "What happens to a run when its worker dies?"}},
    "signal_id": "",
}
_INGESTION: Extra = {
    "id": "19bc3d2e1f0a1b2c3d4e5",
    "pipeline": "docs",
    "cause": "scheduled",
    "status": "completed",
    "requested_at": _TIME,
    "ended_at": _TIME,
    "documents_total": 8,
    "documents_done": 8,
    "added": 1,
    "replaced": 0,
    "removed": 0,
    "unchanged": 7,
    "refused": 0,
    "chunks": 5,
    "reason": "",
}
_FEEDBACK: Extra = {"rating": 1, "comment": "named the right page", "principal": "support-team", "time": _TIME}
_EPISODE: Extra = {
    "run_id": _RUN_ID,
    "goal": "What happens to a run when its worker dies?",
    "status": "completed",
    "outcome": "Another worker takes it over.",
    "tools": [{"name": "search_docs", "calls": 1, "failures": 0}],
    "cost": 0.0004,
    "input_tokens": 812,
    "output_tokens": 96,
    "duration_ms": 1250.0,
    "ended_at": _TIME,
    "feedback": [_FEEDBACK],
    "score": 0.64,
}
_SESSION: Extra = {
    "agent": "docs-agent",
    "session_id": "tuesday",
    "turns": 12,
    "first_used": _TIME,
    "last_used": _TIME,
}
_EXPORT: Extra = {
    **_SESSION,
    "history": [{"run_id": _RUN_ID, "time": _TIME, "role": "user", "content": "What is an event here?"}],
    "summary": "The user asks how runs are stored.",
    "semantic": [],
    "episodes": [_EPISODE],
}
_APPROVAL: Extra = {
    "run_id": _RUN_ID,
    "path": "2.1",
    "kind": "approval",
    "state": "pending",
    "tool": "refund",
    "arguments": {"order": "A-17", "amount": 129.9},
    "sha256": "9f2c" * 16,
    "role": "user",
    "requested_at": _TIME,
    "decide_at": f"/v1/approvals/{_RUN_ID}/2.1",
    "agent": "docs-agent",
    "session_id": "tuesday",
}
NOT_READY: Extra = {"ready": False, "checks": {"bus": {"ok": False, "reason": "not connected"}}}
"""The 503 of readiness, which is no problem document."""

BODIES: dict[str, Extra] = {
    "POST /v1/runs/{run_id}/cancel": {"reason": "asked the wrong question"},
    "POST /v1/runs/{run_id}/resolve": {"path": "2.1", "outcome": "succeeded", "result": '{"order": 17}'},
    "POST /v1/runs/{run_id}/feedback": {"rating": 1, "comment": "named the right page"},
    "POST /v1/approvals/{run_id}/{path}": {"decision": "approve", "comment": "agreed with the customer"},
    "POST /v1/guardrails/check": {"agent": "docs-agent", "text": "write to ada@example.com", "stage": "input"},
    "POST /v1/tools/execute": {"agent": "docs-agent", "tool_name": "search_docs", "arguments": {"query": "crash"}},
    "POST /v1/rag/query": {"pipeline": "docs", "query": "What happens when a worker dies?", "top_k": 3},
    "POST /v1/rag/pipelines/{name}/ingestions/{ingestion_id}/cancel": {"reason": "the wrong folder"},
}
"""JSON bodies, where the route has none of its own."""

ANSWERS: dict[str, Extra] = {
    "GET /v1/runs": {"runs": [_RECORD], "next_page_token": ""},
    "GET /v1/runs/{run_id}": _RECORD,
    "GET /v1/runs/{run_id}/events": {"run_id": _RUN_ID, "events": [_EVENT], "next_page_token": ""},
    "GET /v1/runs/{run_id}/results/{path}": {
        "run_id": _RUN_ID,
        "path": "2.1",
        "tool": "search_docs",
        "cut": False,
        "characters": 16,
        "output": '{"passages": []}',
    },
    "POST /v1/runs/{run_id}/cancel": {**_RECORD, "status": "cancelled"},
    "POST /v1/runs/{run_id}/resolve": _RECORD,
    "POST /v1/runs/{run_id}/feedback": {**_RECORD, "feedback": [_FEEDBACK]},
    "GET /v1/approvals": {"approvals": [_APPROVAL], "next_page_token": ""},
    "POST /v1/approvals/{run_id}/{path}": _RECORD,
    "POST /v1/runs/{run_id}/verify": {
        "run_id": _RUN_ID,
        "ok": True,
        "events": 9,
        "broken_at": None,
        "reason": "",
    },
    "POST /v1/runs/{run_id}/replay": {
        "run_id": _RUN_ID,
        "identical": True,
        "verdict": "identical",
        "events": 9,
        "duration_ms": 0.5,
        "difference": None,
    },
    "GET /v1/costs": {
        "namespace": "default",
        "by": ["agent", "day"],
        "costs": [{**_COST, "agent": "docs-agent", "day": "2026-03-01"}],
        "total": _COST,
    },
    "POST /v1/chat/completions": _COMPLETION,
    "GET /v1/models": {
        "object": "list",
        "data": [{"id": "docs-agent", "object": "model", "created": 1772357400, "owned_by": "default"}],
    },
    "GET /v1/agents": {"agents": [_AGENT]},
    "POST /v1/agents": _AGENT,
    "GET /v1/agents/{name}": _AGENT,
    "PUT /v1/agents/{name}": _AGENT,
    "GET /v1/resources/{kind}": {
        "kind": "Agent",
        "columns": ["NAME", "DISPLAY NAME", "PROVIDER", "MODEL", "PATTERN", "READY", "AGE"],
        "resources": [_RESOURCE],
    },
    "GET /v1/resources/{kind}/{name}": _RESOURCE,
    "PUT /v1/resources/{kind}/{name}": _RESOURCE,
    "GET /v1/memory/{agent}/history/{session}": {
        "agent": "docs-agent",
        "session_id": "tuesday",
        "history": [{"run_id": _RUN_ID, "time": _TIME, "role": "user", "content": "What is an event here?"}],
        "next_page_token": "",
    },
    "GET /v1/memory/{agent}/sessions": {"agent": "docs-agent", "sessions": [_SESSION], "next_page_token": ""},
    "GET /v1/memory/{agent}/sessions/{session}/export": _EXPORT,
    "GET /v1/memory/users/{user}/export": {"user": "ada", "sessions": [_EXPORT]},
    "DELETE /v1/memory/users/{user}": {"user": "ada", "sessions": 3},
    "GET /v1/memory/{agent}/semantic": {
        "agent": "docs-agent",
        "query": "Which release do I run?",
        "results": [
            {"id": f"{_RUN_ID}:9", "run_id": _RUN_ID, "text": "User: I run release 1.4 on two nodes.", "score": 0.71}
        ],
    },
    "GET /v1/memory/{agent}/episodes": {
        "agent": "docs-agent",
        "query": "Find the page on crashes",
        "episodes": [_EPISODE],
    },
    "POST /v1/memory/{agent}/rebuild": {"agent": "docs-agent", "turns": 412, "semantic": 398, "episodic": 405},
    "GET /v1/tools": {"tools": [_TOOL], "count": 1},
    "GET /v1/tools/{agent}/{tool_name}": {**_TOOL, "declared": {"rate_limit": {"max_calls": 10, "window_seconds": 60}}},
    "GET /v1/tools/builtin": {
        "tools": [
            {
                "name": "datetime_now",
                "description": "Tells the current date and time.",
                "effect": "read",
                "parameters": {"type": "object", "properties": {"timezone": {"type": "string"}}},
                "config": {"type": "object", "properties": {"timezone": {"type": "string", "default": "UTC"}}},
            }
        ],
        "count": 1,
    },
    "POST /v1/guardrails/check": {
        "agent": "docs-agent",
        "stage": "input",
        "blocked": False,
        "verdicts": [
            {
                "place": "guardrails.input[0]",
                "rule": "pii_detection",
                "action": "redact",
                "dry_run": False,
                "findings": [{"kind": "EMAIL", "start": 9, "end": 24}],
            }
        ],
        "policy_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "text": "write to [EMAIL]",
    },
    "POST /v1/tools/execute": {
        "agent": "docs-agent",
        "tool": "search_docs",
        "ok": True,
        "result": "…",
        "duration_ms": 4.2,
        "sources": [_PASSAGE],
    },
    "GET /v1/rag/pipelines": {
        "pipelines": [
            {
                "name": "docs",
                "store": "faiss",
                "embedding_model": "all-MiniLM-L6-v2",
                "documents": 8,
                "chunks": 61,
                "last_ingested": _TIME,
                "next_ingestion": None,
            }
        ]
    },
    "POST /v1/rag/query": {"pipeline": "docs", "query": "What happens when a worker dies?", "results": [_PASSAGE]},
    "POST /v1/rag/ingest": {
        "pipeline": "docs",
        "added": 1,
        "replaced": 0,
        "removed": 0,
        "unchanged": 7,
        "chunks": 61,
        "refused": [],
        "ingestion_id": _INGESTION["id"],
    },
    "GET /v1/rag/pipelines/{name}/documents": {
        "documents": [{"source": "knowledge/durability.md", "origin": "file"}],
        "next_page_token": "",
    },
    "GET /v1/rag/pipelines/{name}/ingestions": {"ingestions": [_INGESTION], "next_page_token": ""},
    "GET /v1/rag/pipelines/{name}/ingestions/{ingestion_id}": {
        **_INGESTION,
        "changes": [{"source": "durability.md", "outcome": "added", "chunks": 5, "reason": ""}],
    },
    "POST /v1/rag/pipelines/{name}/ingestions/{ingestion_id}/cancel": {
        **_INGESTION,
        "status": "cancelled",
        "reason": "the wrong folder",
    },
    "GET /v1/audit/heads": {
        "heads": [
            {
                "tree": "5a0e7a1f3c9d2b64",
                "size": 1204,
                "root": "6f7c0a3d1f0b58a2f7d5b0e06f8b7f6c2a4d9e1b3c5f7a9d0e2f4b6c8d1a3e5f",
                "time": _TIME,
                "time_unix_nano": "1772357400000000000",
                "previous": "0b6e2f4a8c1d3e5f7a9b0c2d4e6f8a1b3c5d7e9f0a2b4c6d8e1f3a5b7c9d0e2f",
                "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "signature": "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            }
        ],
        "anchors": [{"place": "file:/var/audit/heads.jsonl", "size": 1204, "time": _TIME, "trouble": ""}],
        "next_before": 0,
    },
    "GET /v1/health": {"status": "ok", "version": "0.1.0"},
    "GET /v1/health/ready": {"ready": True, "checks": {"bus": {"ok": True, "reason": ""}}},
}
"""JSON of the answer that says it went well, where the route has none of its own."""
