"""Stub GPU machines as processes of their own, for as long as a context is open.

What belongs here: starting, asking and ending them. What does not: what they answer (`stub_mediator.py`).
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bench import proc

_STOP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class MachineProcess:
    """A stub machine that runs."""

    url: str
    pid: int

    @property
    def cpu_s(self) -> float:
        return proc.cpu_s(self.pid)

    def counters(self, **bounds: float) -> dict[str, Any]:
        """Its counts; `since` and `until` bound the slot-seconds, on the clock that all processes share."""
        answer = httpx.get(f"{self.url}/stub/counters", params=bounds, timeout=30.0)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def stub_process(*arguments: str) -> Iterator[MachineProcess]:
    """One stub machine with these options of `bench.stub_mediator`."""
    command = [sys.executable, "-m", "bench.stub_mediator", "--port", "0", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"the stub machine ended with status {process.wait()} before it said its address")
            yield MachineProcess(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def stub_processes(options: Sequence[Sequence[str]]) -> Iterator[list[MachineProcess]]:
    """One stub machine for each list of options."""
    with ExitStack() as stack:
        yield [stack.enter_context(stub_process(*arguments)) for arguments in options]
