"""A child process: started again when it dies, stopped in time, and gone with its parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from astromesh_cli.serving.children import Child
from astromesh_testing.waiting import until

SLEEPS = "import time; time.sleep(60)"


def child(code: str, *arguments: str, grace: float = 2.0) -> Child:
    return Child("worker", (sys.executable, "-c", code, *arguments), os.environ, grace)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


async def written(path: Path, count: int) -> list[str]:
    async def there() -> bool:
        return len(lines(path)) >= count

    await until(there, 5)
    return lines(path)


async def test_a_child_that_dies_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    code = "import sys, time; open(sys.argv[1], 'a').write(f'{time.time()}\\n'); sys.exit(3)"
    dying = child(code, str(diary))
    keeping = asyncio.create_task(dying.keep())

    first, second, third = [float(line) for line in await written(diary, 3)][:3]
    await dying.stop()

    assert await keeping == 0
    assert 0.2 <= second - first < third - second


async def test_a_child_that_cannot_start_as_configured_is_not_tried_again(tmp_path: Path) -> None:
    assert await child("import sys; sys.exit(78)").keep() == 78


async def test_stopping_ends_a_child(tmp_path: Path) -> None:
    sleeping = child(SLEEPS)
    keeping = asyncio.create_task(sleeping.keep())
    await asyncio.sleep(0.1)

    await sleeping.stop()

    assert await keeping == 0


async def test_a_child_that_does_not_heed_is_killed_after_its_time(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').write('x\\n')"
    stubborn = child(f"{deaf}; {SLEEPS}", str(ready), grace=0.2)
    keeping = asyncio.create_task(stubborn.keep())
    await written(ready, 1)

    begun = time.monotonic()
    await stubborn.stop()

    assert time.monotonic() - begun >= 0.2
    assert await keeping == 0


async def test_stopping_between_two_lives_starts_no_third(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    code = "import sys; open(sys.argv[1], 'a').write('x\\n'); sys.exit(3)"
    dying = child(code, str(diary))
    keeping = asyncio.create_task(dying.keep())
    await written(diary, 2)
    await asyncio.sleep(0.1)

    await dying.stop()

    assert await keeping == 0
    assert len(lines(diary)) == 2


def test_a_child_ends_when_its_parent_is_gone() -> None:
    code = "from astromesh_cli.serving.children import end_with_parent; end_with_parent(); print('up', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; {SLEEPS}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == b"up\n"
        process.stdin.close()
        assert process.wait(timeout=5) == -15
