"""Runs all tests: first those that may share the machine, on two workers; then, one by one, those marked `serial`.

Arguments are passed on to pytest.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS = 5
PASSES = (
    ("-m", "not serial", "-n", "2", "--dist", "loadfile"),
    ("-m", "serial"),
)


def main(arguments: list[str]) -> int:
    for chosen in PASSES:
        pytest = [sys.executable, "-m", "pytest", "-q", *chosen, *arguments]
        code = subprocess.run(pytest, cwd=ROOT, check=False).returncode
        if code not in (0, NO_TESTS):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
