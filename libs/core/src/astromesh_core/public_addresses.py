"""Which addresses of the network anybody may be sent to, and which lead inside: to this machine, its neighbours, or the
metadata service of a cloud. Pure; names are looked up elsewhere."""

from __future__ import annotations

import ipaddress
from typing import Final

from astromesh_core.errors import Denied

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.IPv6Network("64:ff9b:1::/48")


class LeadsInside(Denied):
    """The address is of this machine, of its neighbours, or of a cloud's metadata. Nothing was sent."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host[:200]} is an address inside the network; declare allow_private: true if that is meant")


def is_public(address: str) -> bool:
    """Whether this is the address of a machine of the public internet. False for what is no address.

    An IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64) is judged by itself, too.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in (parsed, *_inside(parsed)))


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _NAT64_LOCAL:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
