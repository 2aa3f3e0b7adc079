"""The entry point of `astromesh`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, cast

from astromesh_core.garbage import hold, leave

if TYPE_CHECKING:
    from types import ModuleType


def main() -> None:
    """Runs the command line and exits."""
    hold()
    # Its core writes of forks and sockets on stderr; what goes wrong in a call is told by us.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # httpx imports its own command with itself, click and pygments too, unless that cannot be imported: 40 ms saved.
    sys.modules.setdefault("httpx._main", cast("ModuleType", None))
    # Imported here because importing is what is to be held.
    from astromesh_cli.app import app

    try:
        app()
    finally:
        leave()


if __name__ == "__main__":
    main()
