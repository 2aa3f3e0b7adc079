"""How one service reaches another: in this process where it is served here, else at the address that the settings
name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from astromesh_core.errors import InvalidInput
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import Channel
from astromesh_core.rpc.remote import RemoteChannel


class Connections:
    """Channels by service name ("router"). Services need not know, or care, where the other one runs."""

    def __init__(self, local: InProcessServer, here: Collection[str], peers: Mapping[str, str], token: str) -> None:
        self._local = local
        self._here = frozenset(here)
        self._peers = dict(peers)
        self._token = token
        self._remote: dict[str, RemoteChannel] = {}

    def channel(self, service: str) -> Channel:
        """What the stubs of `service` are made of. Connecting waits for the first call; one connection serves all
        that ask.

        Raises InvalidInput for a service that neither runs here nor has an address.
        """
        if service in self._here:
            return self._local.channel()
        address = self._peers.get(service)
        if address is None:
            raise InvalidInput(
                f"No way to the service {service!r}: serve it in this process too, or name its address in "
                f'ASTROMESH_PEERS, as {{"{service}": "host:port"}}.'
            )
        if address not in self._remote:
            self._remote[address] = RemoteChannel(address, self._token)
        return self._remote[address].stub_channel()

    async def close(self) -> None:
        """Ends the connections to other processes."""
        for channel in self._remote.values():
            await channel.close()
