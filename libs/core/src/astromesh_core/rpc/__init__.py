"""Calls between services: one contract, two placements (this process, or gRPC). No service logic lives here."""
