"""Builds the Rust extension of libs/native as a wheel and installs it; `make setup` runs this where cargo is.

A build that fails takes an older extension away, says so in one line and exits 0: the twins do the same work.
`--strict` (`make native`) shows the compiler's words and exits 1. JOBS says how many crates compile at a time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NATIVE = ROOT / "libs" / "native"
WHEELS = ROOT / "build" / "native"
LOG = WHEELS / "build.log"
DISTRIBUTION = "astromesh-native-rust"
SECONDS = 900
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def main(arguments: list[str]) -> int:
    strict = "--strict" in arguments
    if shutil.which("cargo") is None:
        print("There is no cargo here; the pure-Python twins do the work of libs/native.")
        return int(strict)
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    if build(strict) and install():
        return 0
    subprocess.run([*PIP, "uninstall", "--yes", DISTRIBUTION], check=False, stderr=subprocess.DEVNULL)
    print(f"The Rust extension was not built; its pure-Python twins work. Why: {reason()} (make native tries again)")
    return int(strict)


def build(shown: bool) -> bool:
    """Makes the wheel, whose bytes follow from sources, lock and toolchain alone; whether it is there."""
    command = [str(BIN / "maturin"), "build", "--release", "--locked", "--out", str(WHEELS)]
    with LOG.open("w") as log:
        try:
            done = subprocess.run(
                command,
                cwd=NATIVE / "crates" / "binding",
                env=environment(),
                stdout=None if shown else log,
                stderr=None if shown else subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.write(f"error: {error}\n")
            return False
    return done.returncode == 0


def environment() -> dict[str, str]:
    """The caller's, with bounded patience and without this machine's paths in what is built."""
    home = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    return os.environ | {
        "CARGO_BUILD_JOBS": os.environ.get("JOBS", "1"),
        "CARGO_HTTP_TIMEOUT": "20",
        "CARGO_NET_RETRY": "1",
        "CARGO_TARGET_DIR": str(ROOT / "build" / "cargo"),
        "RUSTFLAGS": f"--remap-path-prefix={home}=cargo --remap-path-prefix={ROOT}=astromesh",
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "315532800"),
    }


def install() -> bool:
    wheels = sorted(WHEELS.glob("*.whl"))
    command = [*PIP, "install", "--no-deps", "--no-index", "--force-reinstall", *map(str, wheels)]
    with LOG.open("a") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    return bool(wheels) and done.returncode == 0


def reason() -> str:
    """The first error in the log, in one line."""
    lines = [line.strip() for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error")] or [line for line in lines if "error" in line.lower()]
    return (told or lines or ["see above"])[0][:200]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
