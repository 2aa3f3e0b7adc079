"""Generates libs/proto from proto/: messages and stubs of `astromesh.v1`, with their types. Never edits by hand.

The generators are the versions that requirements-dev.lock names, so that the same text comes out on every machine.
"""

import argparse
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "proto"
GENERATED = ROOT / "libs" / "proto" / "src"
PACKAGE = Path("astromesh") / "v1"
PLUGINS = ("mypy", "mypy_grpc")
GENERATORS = ("grpcio-tools", "mypy-protobuf")
SUFFIXES = (".py", ".pyi", ".typed")


class GenerationFailed(Exception):
    """The contract does not compile, or the generators are not the locked ones."""


def main() -> int:
    """Rewrites the generated package; with --check, only says whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the committed code differs")
    arguments = parser.parse_args()
    try:
        return report_differences() if arguments.check else regenerate()
    except GenerationFailed as failure:
        print(failure, file=sys.stderr)
        return 1


def regenerate() -> int:
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        target = GENERATED / PACKAGE
        target.mkdir(parents=True, exist_ok=True)
        for path in target.iterdir():
            if path.is_file() and path.name not in fresh:
                path.unlink()
        for name, text in fresh.items():
            if not (target / name).exists() or (target / name).read_bytes() != text:
                (target / name).write_bytes(text)
    return 0


def report_differences() -> int:
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
    target = GENERATED / PACKAGE
    committed = {path.name: path.read_bytes() for path in target.iterdir() if path.suffix in SUFFIXES}
    different = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    for name in different:
        state = "missing" if name not in committed else "left over" if name not in fresh else "out of date"
        print(f"{(target / name).relative_to(ROOT)}: {state}; run `make proto`", file=sys.stderr)
    return 1 if different else 0


def generate(folder: Path) -> dict[str, bytes]:
    """Returns each file of the generated package by name, made under `folder`."""
    refuse_unlocked_generators()
    sources = sorted(str(path.relative_to(CONTRACT)) for path in (CONTRACT / PACKAGE).glob("*.proto"))
    bundled = Path(protoc.__file__).parent / "_proto"
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in PLUGINS]
    outputs = [f"--{name}_out={folder}" for name in ("python", "grpc_python")]
    outputs += [f"--{name}_out=quiet:{folder}" for name in PLUGINS]
    if protoc.main(["protoc", f"-I{CONTRACT}", f"-I{bundled}", *plugins, *outputs, *sources]):
        raise GenerationFailed("protoc refused the contract")
    made = folder / PACKAGE
    drop_empty_stubs(made)
    (made / "__init__.py").touch()
    (made / "py.typed").touch()
    return {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()}


def drop_empty_stubs(made: Path) -> None:
    """Removes the gRPC modules of files that declare no service; nothing could be called through them."""
    for path in made.glob("*_pb2_grpc.py"):
        if "Servicer" not in path.read_text():
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)


def refuse_unlocked_generators() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text()
    for name in GENERATORS:
        locked = re.search(rf"^{name}==(\S+)", lock, re.MULTILINE)
        if locked is None or locked[1] != version(name):
            raise GenerationFailed(f"{name} {version(name)} is installed, but requirements-dev.lock names another")


if __name__ == "__main__":
    sys.exit(main())
