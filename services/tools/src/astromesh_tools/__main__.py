"""`python -m astromesh_tools`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_tools.app import open_service

if __name__ == "__main__":
    run_service("tools", open_service)
