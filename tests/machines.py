"""Stub machines that run beside a test which itself blocks: each in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.stub_mediator import StubMachine, StubOptions

_WITHIN_S = 10.0


@contextmanager
def running_stub(options: StubOptions | None = None) -> Iterator[StubMachine]:
    """One stub machine, listening on loopback until the context is left."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stub-machine")
    thread.start()
    try:
        stub = StubMachine(options)
        asyncio.run_coroutine_threadsafe(stub.start(), loop).result(_WITHIN_S)
        try:
            yield stub
        finally:
            asyncio.run_coroutine_threadsafe(stub.stop(), loop).result(_WITHIN_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_WITHIN_S)
        loop.close()


@contextmanager
def running_stubs(count: int, options: StubOptions | None = None) -> Iterator[list[StubMachine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running_stub(options)) for _ in range(count)]
