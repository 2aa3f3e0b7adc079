"""Building the Rust extension: where it cannot be, one line says so and everything goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "build_native.py"
NO_CRATES = "error: failed to get `pyo3` as a dependency of package `astromesh-native-rust`"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A workspace with an interpreter of its own, so that nothing is installed into or taken out of this one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "libs" / "native" / "crates" / "binding").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "scripts")
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / "bin" / "python").symlink_to(base)
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def built(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "bin" / "python"), str(folder / "scripts" / "build_native.py"), *arguments]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_without_cargo_nothing_is_asked(elsewhere: Path) -> None:
    if any(Path(folder, "cargo").exists() for folder in ("/usr/bin", "/bin")):
        pytest.skip("this machine has cargo where every program finds it")
    done = built(elsewhere)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["There is no cargo here; the pure-Python twins do the work of libs/native."]


def test_a_failed_build_is_told_in_one_line_and_fails_nothing(elsewhere: Path) -> None:
    program(elsewhere, "cargo", "exit 0")
    program(elsewhere, "maturin", f"echo '{NO_CRATES}'; exit 101")
    done = built(elsewhere)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert NO_CRATES in line
    assert "make native" in line


def test_asked_for_by_name_a_failed_build_fails(elsewhere: Path) -> None:
    program(elsewhere, "cargo", "exit 0")
    program(elsewhere, "maturin", f"echo '{NO_CRATES}'; exit 101")
    done = built(elsewhere, "--strict")
    assert done.returncode == 1
    assert NO_CRATES in done.stdout


def test_a_build_without_a_wheel_is_a_failed_one(elsewhere: Path) -> None:
    program(elsewhere, "cargo", "exit 0")
    program(elsewhere, "maturin", "exit 0")
    done = built(elsewhere)
    assert done.returncode == 0
    assert "was not built" in done.stdout
