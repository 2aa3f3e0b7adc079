"""Installs the official MCP servers and clients of tests into `build/`, by the lock file in `tests/reference_servers/`.

Prints the folder; where there is no npm, or no registry, it says so and exits with 3.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECLARED = ROOT / "tests" / "reference_servers"
FILES = ("package.json", "package-lock.json")
UNAVAILABLE = 3


def main() -> int:
    """Installs what is not installed yet; two at once wait for each other."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (build / "reference-servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reason = install(build / "reference-servers")
    sys.stdout.write(f"{reason or build / 'reference-servers'}\n")
    return UNAVAILABLE if reason else 0


def install(folder: Path) -> str:
    """Why the servers cannot be installed; "" where they are."""
    wanted = hashlib.sha256(b"".join((DECLARED / name).read_bytes() for name in FILES)).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in FILES:
        shutil.copy(DECLARED / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return f"npm ci failed: {done.stderr.strip()[-300:]}"
    stamp.write_text(wanted)
    return ""


if __name__ == "__main__":
    sys.exit(main())
