"""Every client command in its place of the tree."""

from __future__ import annotations

import typer

from astromesh_cli.commands import (
    approvals,
    asking,
    auditing,
    checking,
    costs,
    forking,
    guardrails,
    mcp,
    proving,
    rag,
    remembering,
    resources,
    runs,
    sessions,
    tools,
    training,
)


def register(app: typer.Typer) -> None:
    """Adds the client commands to the command."""
    for module in (asking, resources, costs, mcp, checking):
        module.register(app)
    lookups = typer.Typer(no_args_is_help=True, help="Looks into runs: what they did, and proof of it.")
    for module in (runs, proving, forking):
        module.register(lookups)
    app.add_typer(lookups, name="runs")
    asked = typer.Typer(no_args_is_help=True, help="What runs ask humans: approves, denies and answers it.")
    approvals.register(asked)
    app.add_typer(asked, name="approvals")
    guarding = typer.Typer(no_args_is_help=True, help="What guards agents: asks their rules about a text.")
    guardrails.register(guarding)
    training.register(guarding)
    app.add_typer(guarding, name="guardrails")
    calling = typer.Typer(no_args_is_help=True, help="What agents may call: shows it, and calls it by hand.")
    tools.register(calling)
    app.add_typer(calling, name="tools")
    retrieval = typer.Typer(no_args_is_help=True, help="Takes documents into pipelines, and asks them.")
    rag.register(retrieval)
    app.add_typer(retrieval, name="rag")
    memory = typer.Typer(no_args_is_help=True, help="What agents remember: shows it, forgets it, and makes it again.")
    for module in (sessions, remembering):
        module.register(memory)
    app.add_typer(memory, name="memory")
    audits = typer.Typer(no_args_is_help=True, help="Proof of what is in the log, for whoever does not trust the mesh.")
    auditing.register(audits)
    app.add_typer(audits, name="audit")
