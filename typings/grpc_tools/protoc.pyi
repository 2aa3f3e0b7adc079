"""What scripts/generate.py calls of grpcio-tools, which ships no types."""

from collections.abc import Sequence

__file__: str

def main(command_arguments: Sequence[str]) -> int: ...
