"""`guardrails train`: makes a classifier of topics from examples, with no mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from astromesh_cli.client.exits import EPILOG

if TYPE_CHECKING:
    from astromesh_guardrails.classifier import Classifier


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("train", epilog=EPILOG)(train)


def train(
    examples: Annotated[
        Path, typer.Argument(help="A topic (or none), a tab and what somebody says of it; one a line.")
    ],
    output: Annotated[Path, typer.Option(help="The file to write: a .json in the config folder.")],
    provider: Annotated[str, typer.Option(help="Of the embedding model, as in a pipeline.")] = "onnx",
    model: Annotated[str | None, typer.Option(help="The embedding model; left out: the provider's own.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Where its server is.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")] = False,
) -> None:
    """Makes a classifier of topics for the guardrail topic_filter, and says how well it tells the examples apart."""
    from astromesh_cli.client.failures import reported

    with reported(as_json=as_json):
        declared = {"provider": provider, "model": model, "endpoint": endpoint}
        made = _made(examples, {name: value for name, value in declared.items() if value is not None})
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(made.classifier.to_json() + "\n", encoding="utf-8")
        if as_json:
            from astromesh_cli.client.terminal import print_json

            told = {"file": str(output), "topics": list(made.classifier.topics), "examples": made.examples}
            print_json({**told, "accuracy": round(made.accuracy, 3)})
        else:
            topics = ", ".join(made.classifier.topics)
            typer.echo(f"{output}: {topics}, trained on {made.examples} examples")
            typer.echo(f"{made.accuracy:.1%} of them judged right by what was trained on others")


class _Made(NamedTuple):
    classifier: Classifier
    examples: int
    accuracy: float


def _made(examples: Path, embeddings: dict[str, str]) -> _Made:
    # Imported here: what embeds is slow to load, and no other command needs it.
    import asyncio
    import os
    import tempfile

    from pydantic import ValidationError

    from astromesh_core.errors import InvalidInput
    from astromesh_core.resources.embeddings import EmbeddingsSpec
    from astromesh_core.user_code.modules import Modules
    from astromesh_guardrails.classifier import crossed, trained
    from astromesh_vectors.embedders.opening import Embedders

    try:
        spec = EmbeddingsSpec.model_validate(embeddings)
    except ValidationError as error:
        raise InvalidInput(f"no such embedding model: {error.errors()[0]['msg']}") from None
    said = _read(examples)
    labels = [label for label, _ in said]

    async def fitted() -> _Made:
        with tempfile.TemporaryDirectory() as data:
            modules = Modules(Path("config") / "embedders")
            embedders = Embedders(Path(data), modules, os.environ)
            try:
                vectors = await (await embedders.of(spec)).embed([text for _, text in said])
            finally:
                await embedders.close()
                modules.close()
        return _Made(trained(spec, vectors, labels), len(said), crossed(spec, vectors, labels))

    return asyncio.run(fitted())


def _read(file: Path) -> list[tuple[str, str]]:
    from astromesh_core.errors import InvalidInput

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
    found: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        label, tab, text = line.partition("\t")
        if not (label.strip() and tab and text.strip()):
            raise InvalidInput(f"{file}:{number}: write a topic, a tab and a text")
        found.append((label.strip(), text.strip()))
    return found
