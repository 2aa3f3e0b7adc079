"""What libraries do without, in a process of its own: what is imported here would otherwise already be there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from astromesh_core.unwanted import UNWANTED

IMPORTERS = "import nats.aio.client, structlog; from fastapi import APIRouter"
A_ROUTE = "APIRouter().get('/', response_model=dict[str, int])(lambda: {})"
PRINT_LOADED = "import sys; print(*sys.modules)"


def loaded_after(*statements: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((*statements, PRINT_LOADED))], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def unguarded() -> set[str]:
    return loaded_after(IMPORTERS, A_ROUTE)


@pytest.fixture(scope="module")
def guarded() -> set[str]:
    refuse = "from astromesh_core.unwanted import refuse_unwanted; refuse_unwanted()"
    return loaded_after(refuse, IMPORTERS, A_ROUTE)


@pytest.mark.parametrize(("importer", "extra"), UNWANTED.items())
def test_an_importer_does_without_what_it_would_import(
    unguarded: set[str], guarded: set[str], importer: str, extra: str
) -> None:
    assert {importer, extra} <= unguarded, "it imports this no more: take it out of the table"
    assert importer in guarded
    assert extra not in guarded


def test_others_import_it_as_ever() -> None:
    refuse = "from astromesh_core.unwanted import refuse_unwanted; refuse_unwanted()"
    assert {"aiohttp", "rich"} <= loaded_after(refuse, "import nats.aio.client", "import aiohttp, rich")
