"""The entry point of `astromesh`."""

from __future__ import annotations

from astromesh_core.garbage import hold


def main() -> None:
    """Runs the command line and exits."""
    hold()
    # Imported here because importing is what is to be held.
    from astromesh_cli.app import app

    app()


if __name__ == "__main__":
    main()
