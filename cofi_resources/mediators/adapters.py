"""What the pool asks of a wire protocol, and which protocol a machine's address names.

What belongs here: the adapter's contract and the table of adapters. A new wire protocol is one file and one line.
What does not: retries, choice of machines (`pool.py`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from cofi_resources.errors import ConfigError
from cofi_resources.mediators.exchange import MachineHttp
from cofi_resources.mediators.local_audio import Contents, LocalAudio
from cofi_resources.mediators.protocol import MachineStatus, WireModel
from cofi_resources.mediators.v1 import V1Adapter
from cofi_resources.settings import MachineAddress, MachineProtocol


class Adapter(Protocol):
    """One machine, one attempt: every method gives a checked answer or raises a `CofiError` with its trace.

    The errors are those of `faults.py` where the pool can mend them, else those of `cofi_resources/errors.py`.
    `about` begins their messages; it names the file and the stage.
    """

    async def status(self) -> MachineStatus: ...

    async def has(self, audio: LocalAudio, contents: Contents) -> bool:
        """Whether these very bytes are on the machine."""
        ...

    async def upload(self, audio: LocalAudio, contents: Contents) -> float:
        """Send a recording, streamed from disk; its duration in seconds."""
        ...

    async def run_stage(
        self, stage: str, request: WireModel, *, key: str, about: str, timeout_s: float, duration_s: float
    ) -> WireModel:
        """The stage's result, valid in schema and meaning; `duration_s` is the file's, 0.0 where unknown or none."""
        ...

    def stage_url(self, stage: str) -> str: ...


ADAPTERS: dict[MachineProtocol, Callable[[MachineHttp], Adapter]] = {"v1": V1Adapter}


def check_protocols(machines: Sequence[MachineAddress]) -> None:
    """ConfigError for a machine whose protocol no adapter speaks."""
    for machine in machines:
        if machine.protocol not in ADAPTERS:
            raise ConfigError(
                f"GPU_MACHINES: {machine} asks for protocol={machine.protocol}, which is not available yet; "
                f"available: {', '.join(ADAPTERS)}"
            )


def adapter_for(machine: MachineAddress, http: MachineHttp) -> Adapter:
    """The adapter that speaks a machine's protocol. ConfigError where there is none."""
    check_protocols([machine])
    return ADAPTERS[machine.protocol](http)
