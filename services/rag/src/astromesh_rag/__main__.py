"""`python -m astromesh_rag`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_rag.app import open_service

if __name__ == "__main__":
    run_service("rag", open_service)
