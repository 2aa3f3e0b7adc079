"""`python -m astromesh_history`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_history.app import open_service

if __name__ == "__main__":
    run_service("history", open_service)
