"""How one service reaches another: in this process where it is served here, else at the address that the settings
name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from astromesh_core.errors import InvalidInput
from astromesh_core.readiness import Check
from astromesh_core.rpc.addresses import is_local
from astromesh_core.rpc.health import PeerHealth, served_here
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

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The services that do not run in this process and have an address, by name."""
        return tuple(sorted(self._peers.keys() - self._here))

    @property
    def here(self) -> tuple[str, ...]:
        """The services that run in this process, by name."""
        return tuple(sorted(self._here))

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Those elsewhere that no other machine could serve: each is at a socket, or on loopback."""
        return tuple(name for name in self.elsewhere if is_local(self._peers[name]))

    def channel(self, service: str) -> Channel:
        """What the stubs of `service` are made of. Connecting waits for the first call; one connection serves all
        that ask.

        Raises InvalidInput for a service that neither runs here nor has an address.
        """
        return self._local.channel() if service in self._here else self._reached(service).stub_channel()

    def health(self, service: str) -> Check:
        """The check that `service` answers and is ready, wherever it runs. Raises InvalidInput as `channel` does."""
        return served_here if service in self._here else PeerHealth(service, self._reached(service))

    def _reached(self, service: str) -> RemoteChannel:
        address = self._peers.get(service)
        if address is None:
            raise InvalidInput(
                f"No way to the service {service!r}: serve it in this process too, or name its address in "
                f'ASTROMESH_PEERS, as {{"{service}": "host:port"}}.'
            )
        if address not in self._remote:
            self._remote[address] = RemoteChannel(address, self._token)
        return self._remote[address]

    async def close(self) -> None:
        """Ends the connections to other processes."""
        for channel in self._remote.values():
            await channel.close()
