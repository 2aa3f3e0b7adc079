"""`validate`, `doctor` and `version`: what can be said with no mesh at hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import EPILOG, Exit

if TYPE_CHECKING:
    from astromesh_cli.diagnosis.findings import Finding
    from astromesh_cli.validating import Findings

_JSON = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("validate", epilog=EPILOG)(validate)
    app.command("version", epilog=EPILOG)(version)
    client_command(app, "doctor")(doctor)


def validate(
    path: Annotated[Path, typer.Argument(help="A YAML file or a config folder.")] = Path("config"),
    strict: Annotated[bool, typer.Option("--strict", help="Fail for features that are not built, too.")] = False,
    as_json: _JSON = False,
) -> None:
    """Checks resource files without a mesh: each problem as file:line: path: reason (hint)."""
    from astromesh_cli.client.failures import reported

    with reported(as_json=as_json):
        from astromesh_cli.validating import validate as check

        findings = check(path)
        failed = bool(findings.problems or (strict and findings.gaps))
        if as_json:
            from astromesh_cli.client.terminal import print_json

            print_json(
                {
                    "ok": not failed,
                    "resources": findings.resources,
                    "problems": [asdict(problem) for problem in findings.problems],
                    "not_supported": [asdict(gap) for gap in findings.gaps],
                    "stand_ins": [asdict(stand_in) for stand_in in findings.stand_ins],
                }
            )
        else:
            _print_findings(path, findings)
        if failed:
            raise typer.Exit(Exit.FAILED)


def doctor(
    call: Call,
    config: Annotated[Path | None, typer.Option(help="Folder of the resources.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is kept.")] = None,
) -> None:
    """Checks everything that a mesh needs here, and says how to mend what is broken."""
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.diagnosis.checks import diagnose

    findings = list(diagnose(call, config, data))
    broken = any(finding.state == "broken" for finding in findings)
    if call.as_json:
        print_json({"ok": not broken, "checks": [asdict(finding) for finding in findings]})
    else:
        _print_diagnosis(findings)
    if broken:
        raise typer.Exit(Exit.FAILED)


def version(as_json: _JSON = False) -> None:
    """Prints the version."""
    import platform
    from importlib.metadata import version as version_of

    from astromesh_cli.client.terminal import print_json

    own = version_of("astromesh")
    if as_json:
        print_json({"astromesh": own, "python": platform.python_version(), "platform": platform.platform()})
    else:
        print(f"astromesh {own} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")


def _print_findings(path: Path, findings: Findings) -> None:
    from astromesh_cli.client.terminal import GOOD, WARN, tell

    for problem in findings.problems:
        print(problem)
    for gap in findings.gaps:
        print(f"{gap} (stored, but not Ready)")
    for stand_in in findings.stand_ins:
        print(f"{stand_in} (served by a stand-in)")
    count = f"{findings.resources} resource{'s' * (findings.resources != 1)}"
    if findings.problems:
        problems = len(findings.problems)
        tell(f"{path}: {problems} problem{'s' * (problems != 1)}; {count} fine", WARN)
    elif findings.gaps:
        tell(f"{path}: {count} valid; what is not built yet keeps some from being Ready", WARN)
    else:
        tell(f"{path}: {count} valid", GOOD)


def _print_diagnosis(findings: list[Finding]) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import BAD, GOOD, QUIET, WARN, out

    marks = {"fine": ("✓", GOOD), "note": ("•", WARN), "broken": ("✗", BAD)}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark, style = marks[finding.state]
        out().print(
            Text.assemble((mark, style), f" {finding.name:<{width}}  ", (finding.found, style * (style == BAD)))
        )
        if finding.mend:
            out().print(Text(f"  {'':<{width}}  → {finding.mend}", QUIET))
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        out().print(Text(f"\nto mend: {', '.join(broken)}", BAD))
    else:
        out().print(Text("\neverything that a mesh needs is here", GOOD))
