"""`python -m astromesh_memory`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_memory.app import open_service

if __name__ == "__main__":
    run_service("memory", open_service)
