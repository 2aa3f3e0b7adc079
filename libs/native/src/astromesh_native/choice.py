"""Which implementation this process runs: the Rust extension or the twins. Settled once, at import.

The extension is a distribution of its own, `astromesh-native-rust`, so that this package installs anywhere. It is used
where it can be imported and is of this version and interface; `ASTROMESH_NATIVE=off` keeps to the twins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Final

VARIABLE: Final = "ASTROMESH_NATIVE"
EXTENSION: Final = "astromesh_native_rust"

INTERFACE: Final = 4
"""Counted up here and in `crates/binding/src/lib.rs` with each change of what the extension offers."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether Rust runs, and in words why or why not."""

    rust: bool
    reason: str

    @property
    def name(self) -> str:
        """As traces and reports call it."""
        return "rust" if self.rust else "python"


def choose(setting: str) -> Choice:
    """What is to run, given the value of `ASTROMESH_NATIVE`: "off" for the twins, else whatever is there."""
    if setting.strip().lower() in ("off", "0", "false", "no"):
        return Choice(rust=False, reason=f"{VARIABLE} is {setting.strip()}")
    try:
        extension = import_module(EXTENSION)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == EXTENSION
        return Choice(rust=False, reason="the extension is not built" if missing else f"it does not load: {error}")
    found = (str(extension.VERSION), int(extension.INTERFACE))
    wanted = (version("astromesh-native"), INTERFACE)
    if found != wanted:
        reason = f"the extension is {_shown(found)}, this package {_shown(wanted)}"
        return Choice(rust=False, reason=reason)
    return Choice(rust=True, reason=f"extension {_shown(found)}")


def _shown(release: tuple[str, int]) -> str:
    number, interface = release
    return f"{number}, interface {interface}"


CHOICE: Final = choose(os.environ.get(VARIABLE, ""))
RUST: Final = CHOICE.rust
"""Asked by the modules that offer a function, which import it from the extension or from its twin."""
