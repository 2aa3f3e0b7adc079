"""What no identity may do, and what only some may, tried against the real server with each one's credentials."""

import json

import pytest

from astromesh_core.bus.connection import Bus, connect
from astromesh_core.bus.permissions import ADMIN, MESH, SERVICES, USERS
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import observation_subject, signal_subject, timer_subject
from astromesh_core.errors import Denied, TemporaryError
from astromesh_testing.commits import begun, commit_of, new_run, requested
from astromesh_testing.nats import NatsServer

RUN = new_run()
HEADERS = b"NATS/1.0\r\n%s\r\n\r\n"

WRITES: dict[str, tuple[str, set[str]]] = {
    "admitting a run": (RUN.requested, {"gateway", "runtime"}),
    "going on with a run": (RUN.log, {"runtime"}),
    "a session's events": ("mesh.default.session.01.abc.log", {"runtime"}),
    "a signal": (signal_subject("default", RUN.id), {"gateway", "memory", "runtime"}),
    "a timer": (timer_subject("default", RUN.id, "1"), {"runtime"}),
    "a resource": ("$KV.resources.default.x", {"gateway", "operator"}),
    "a status": ("$KV.status.default.x", {"operator"}),
    "a lease": ("$KV.partitions.p", {"runtime"}),
    "a heartbeat": ("$KV.workers.w", {"runtime"}),
    "an endpoint": ("$KV.endpoints.circuit.x", {"router"}),
    "an ingestion's event": ("mesh.default.ingestion.docs.sources.x.log", {"rag"}),
    "an ingestion's lease": ("$KV.ingesting.lease.default.docs", {"rag"}),
    "a value": ("values.00.0", {"gateway", "runtime", "operator", "tools"}),
    "a router's observation": (observation_subject("router", "Agent.default.docs"), {"router"}),
    "a live message": (f"live.{RUN.log}", set()),
    "somebody's inbox": ("_INBOX_gateway.x", set()),
}


async def refused(bus: Bus, subject: str, headers: bytes = b"") -> bool:
    try:
        await bus.nc.ask(subject, b"x", headers=headers, seconds=1)
    except Denied:
        return True
    except TemporaryError:
        return False
    return False


@pytest.mark.parametrize("user", USERS)
async def test_nobody_removes_or_rewrites_what_is_in_the_log(nats: NatsServer, user: str) -> None:
    async with nats.bus(user) as bus:
        for verb in ("PURGE", "DELETE", "UPDATE", "MSG.DELETE", "RESTORE", "LEADER.STEPDOWN"):
            assert await refused(bus, f"$JS.API.STREAM.{verb}.RUNS"), verb


async def test_the_log_takes_no_rollup_and_no_expiry(bus: Bus) -> None:
    commit, _ = commit_of(RUN, [requested()])
    position = await bus.log.append(RUN.requested, RUN, commit, Position.START)
    for header in (b"Nats-Rollup: sub", b"Nats-Rollup: all", b"Nats-TTL: 1"):
        reply = json.loads((await bus.nc.ask(RUN.log, b"x", headers=HEADERS % header)).data)
        assert "error" in reply, header
    assert (await bus.log.read(RUN)).position == position == await bus.log.end()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_writes_only_what_is_its_own(nats: NatsServer, service: str) -> None:
    async with nats.bus(service) as bus:
        for what, (subject, writers) in WRITES.items():
            assert await refused(bus, subject) == (service not in writers), f"{service}: {what}"


async def test_the_gateway_admits_and_the_runtime_goes_on(nats: NatsServer) -> None:
    first, head = commit_of(RUN, [requested()])
    second, _ = commit_of(RUN, [begun()], head)
    async with nats.bus("gateway") as gateway, nats.bus("runtime") as runtime:
        position = await gateway.log.append(RUN.requested, RUN, first, Position.START)
        with pytest.raises(Denied):
            await gateway.log.append(RUN.log, RUN, second, position)
        await runtime.log.append(RUN.log, RUN, second, position)
        assert len((await gateway.log.read(RUN)).events) == 2


@pytest.mark.parametrize("service", ["router", "tools", "guardrails", "rag", "operator"])
async def test_who_needs_no_run_reads_none(nats: NatsServer, service: str) -> None:
    async with nats.bus(service) as bus:
        with pytest.raises(Denied):
            await bus.log.read(RUN)


async def test_no_service_declares_a_stream(nats: NatsServer) -> None:
    for user in (*SERVICES, MESH):
        async with nats.bus(user) as bus:
            assert await refused(bus, "$JS.API.STREAM.CREATE.OTHER"), user


async def test_a_wrong_password_is_denied_at_once(nats: NatsServer) -> None:
    credentials = nats.credentials("gateway")
    wrong = type(credentials)(credentials.user, "guess")
    with pytest.raises(Denied):
        await connect(nats.url, credentials=wrong, name="intruder")


async def test_the_admin_reads_and_writes_no_event(nats: NatsServer) -> None:
    async with nats.bus(ADMIN) as bus:
        for subject in (RUN.requested, RUN.log, "$JS.API.STREAM.MSG.GET.RUNS", "$JS.API.CONSUMER.CREATE.RUNS"):
            assert await refused(bus, subject)
