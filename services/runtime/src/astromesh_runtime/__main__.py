"""`python -m astromesh_runtime`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_runtime.app import open_service

if __name__ == "__main__":
    run_service("runtime", open_service)
