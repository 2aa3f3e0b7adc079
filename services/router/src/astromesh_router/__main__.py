"""Runs the router as a process of its own."""

from astromesh_core.service import run_service
from astromesh_router.app import open_service

if __name__ == "__main__":
    run_service("router", open_service)
