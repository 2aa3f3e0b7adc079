"""`python -m astromesh_guardrails`: the service in a process of its own."""

from astromesh_core.service import run_service
from astromesh_guardrails.app import open_service

if __name__ == "__main__":
    run_service("guardrails", open_service)
