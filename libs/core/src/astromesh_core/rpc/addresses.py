"""Addresses of servers: `host:port` or `unix:/path`."""

from __future__ import annotations

import ipaddress


def is_local(address: str) -> bool:
    """Whether only this machine can reach a server bound here. A name other than localhost counts as reachable."""
    if address.startswith("unix:"):
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is this machine's own, for example for an HTTP port."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
