"""The embedded server: streams declared, lock, restart, and never outliving its parent."""

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.streams import stream_configs


async def test_every_stream_is_declared(bus: Bus) -> None:
    for config in stream_configs():
        assert (await bus.js.stream_info(str(config.name))).config.subjects == config.subjects
