"""`python -m astromesh_gateway`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_gateway.app import open_service

if __name__ == "__main__":
    run_service("gateway", open_service)
