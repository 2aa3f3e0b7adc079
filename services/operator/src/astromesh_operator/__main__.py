"""The operator as a process of its own."""

from __future__ import annotations

from astromesh_core.service import run_service
from astromesh_operator.app import open_service

if __name__ == "__main__":
    run_service("operator", open_service)
