"""What the server asks of an engine, and what it offers one.

What belongs here: the two interfaces and the version lookup every engine uses. What does not: any engine.
An engine is blocking code; the server calls it in worker threads, up to the stage's capacity at once, and never calls
`load` or `unload` while a request runs.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from cofi_mediator.audio import AudioFacts
from cofi_resources.mediators.protocol import Engine, WireModel


class StageFiles(Protocol):
    """The files of one request: its inputs, which stay while it runs, and a way to leave an output."""

    def path(self, file_id: str) -> Path:
        """Where an input lies. Raises UnknownFile."""
        ...

    def scratch(self) -> Path:
        """A new path to write an output to; removed after the request unless adopted."""
        ...

    def adopt(self, written: Path, file_id: str) -> AudioFacts:
        """Stores a written file under `file_id`, replacing what was there."""
        ...

    def copy(self, file_id: str, output_file_id: str) -> None:
        """Stores an input under another id as well, without changing it."""
        ...


class StageEngine(Protocol):
    """Computes one stage. `run` takes and returns the models `protocol.STAGE_MODELS` names for the stage."""

    def describe(self) -> Engine:
        """Name, model and version, for the status and the results."""
        ...

    def load(self) -> None:
        """Makes the engine ready. Idempotent. Raises ModelUnavailable that says what to do."""
        ...

    def unload(self) -> None:
        """Gives its memory back. Idempotent."""
        ...

    # The request's type follows from the stage's name, which a static type cannot say.
    def run(self, request: Any, files: StageFiles) -> WireModel:
        """The result. Raises a RequestError for what this input cannot have; anything else is `engine_failed`."""
        ...


Engines = Mapping[str, StageEngine]


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
