"""Stub machines on loopback, a pool over them, and the options of an impatient one.

What belongs here: what the tests of this folder share. What does not: tests, and the stub itself (`bench`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.stub_mediator import StubMachine, StubOptions
from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.pool import LocalAudio, MediatorPool
from cofi_resources.mediators.protocol import LidRequest
from cofi_resources.settings import MachineAddress

QUICK = PoolOptions(
    connect_s=1.0,
    request_s=2.0,
    request_per_audio_s=0.0,
    status_every_s=0.1,
    backoff_s=0.01,
    longest_backoff_s=0.02,
    breaker_open_s=0.02,
    breaker_longest_open_s=0.05,
    probe_every_s=0.05,
    retry_after_s=0.05,
    outage_budget_s=10.0,
)


@asynccontextmanager
async def fleet(
    count: int = 1, options: StubOptions | None = None, pool_options: PoolOptions = QUICK, **pool
) -> AsyncIterator[tuple[MediatorPool, list[StubMachine]]]:
    stubs = [StubMachine(options) for _ in range(count)]
    for stub in stubs:
        await stub.start()
    try:
        addresses = [MachineAddress(stub.url) for stub in stubs]
        pool.setdefault("mode", "round-robin")
        async with MediatorPool(addresses, options=pool_options, **pool) as opened:
            yield opened, stubs
    finally:
        for stub in stubs:
            await stub.stop()


async def identify(pool: MediatorPool, audio: LocalAudio, prefer: str | None = None, key: str = "run:1:lid"):
    return await pool.run("lid", lambda file_id: LidRequest(file_id=file_id), audio=audio, prefer=prefer, key=key)
