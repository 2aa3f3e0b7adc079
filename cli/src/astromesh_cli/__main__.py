"""The entry point of `astromesh`."""

from __future__ import annotations

from astromesh_cli.app import app


def main() -> None:
    """Runs the command line and exits."""
    app()


if __name__ == "__main__":
    main()
