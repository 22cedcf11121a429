"""The mediator without HTTP: files, stages and tasks, and what a stage request does with them.

What belongs here: admitting a request, running it apart from the connection it came on, the machine's status. What
does not: HTTP (`app.py`), admission rules of one stage (`stages.py`).
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from pydantic import ValidationError

from cofi_mediator.boundary import faults_of
from cofi_mediator.engines.interface import Engines
from cofi_mediator.errors import EngineFailed, InvalidRequest, RequestError, UnknownStage
from cofi_mediator.metrics import Metrics
from cofi_mediator.request_files import RequestFiles
from cofi_mediator.settings import MediatorSettings
from cofi_mediator.stages import Stage
from cofi_mediator.store import FileStore
from cofi_mediator.tasks import Task, TaskMemory
from cofi_resources.mediators.protocol import PROTOCOL_VERSION, MachineStatus, ServerInfo, WireModel

SERVER_NAME = "cofi-mediator"

log = logging.getLogger(__name__)


class MediatorService:
    """One machine's mediator. Everything here runs in the event loop; what blocks is sent to threads."""

    def __init__(self, settings: MediatorSettings, engines: Engines, metrics: Metrics) -> None:
        self.settings = settings
        self.store = FileStore(settings.home, settings.mediator_store_bytes)
        self.tasks = TaskMemory(ttl_s=settings.mediator_result_ttl_s, limit_bytes=settings.mediator_result_bytes)
        self._engines = engines
        self._metrics = metrics
        self.stages: Mapping[str, Stage] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Opens the store and, unless models come and go by request, begins to load them, one after another."""
        await asyncio.to_thread(self.store.open)
        self.stages = {
            name: Stage(name, engine, self.settings.capacity(name)) for name, engine in self._engines.items()
        }
        if self.settings.mediator_residency == "all":
            self._spawn(self._load([stage for stage in self.stages.values() if stage.start_loading()]))

    async def stop(self) -> None:
        for running in list(self._background):
            running.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for stage in self.stages.values():
            stage.close()

    def stage(self, name: str) -> Stage:
        """Raises UnknownStage."""
        stage = self.stages.get(name)
        if stage is None:
            raise UnknownStage(f"there is no stage {name!r} here; there are {', '.join(self.stages) or 'none'}")
        return stage

    def submit(self, stage_name: str, body: bytes, key: str | None) -> Task:
        """Begins the request, or finds what already answered it; the task ends by itself.

        Raises UnknownStage, InvalidRequest, KeyInUse, UnknownFile, Busy, Loading or EngineFailed.
        """
        stage = self.stage(stage_name)
        request = parse(stage, body)
        canonical = request.model_dump_json().encode("utf-8")
        if key is not None and (answered := self.tasks.remembered(stage_name, key, canonical)) is not None:
            return answered
        files = RequestFiles(self.store)
        try:
            if (file_id := getattr(request, "file_id", None)) is not None:
                files.hold(file_id)
            stage.admit()
        except RequestError:
            files.close()
            raise
        task = self.tasks.begin(stage_name, key, canonical)
        self._spawn(self._work(stage, request, files, task))
        return task

    async def activate(self, name: str) -> Stage:
        """Begins to load a stage that is idle or failed; returns at once."""
        stage = self.stage(name)
        if stage.start_loading():
            self._spawn(stage.load())
        return stage

    async def deactivate(self, name: str) -> Stage:
        """Begins to unload a stage; where all models are resident, does nothing."""
        stage = self.stage(name)
        if self.settings.mediator_residency == "exclusive":
            self._spawn(stage.unload())
            await asyncio.sleep(0)  # the state changes before the answer is made
        return stage

    def not_ready_because(self) -> str:
        """Why no work is accepted now; empty when it is."""
        loading = [stage.name for stage in self.stages.values() if stage.state == "loading"]
        if loading:
            return f"loading {', '.join(loading)}"
        if not any(stage.state in ("ready", "idle") for stage in self.stages.values()):
            faults = [f"{stage.name}: {stage.detail}" for stage in self.stages.values()]
            return f"no stage works: {'; '.join(faults)}" if faults else "no stage is offered"
        return ""

    def status(self) -> MachineStatus:
        return MachineStatus(
            protocol=PROTOCOL_VERSION,
            server=ServerInfo(name=SERVER_NAME, version=server_version()),
            stages={name: stage.status() for name, stage in self.stages.items()},
            files=self.store.status(),
        )

    async def _load(self, stages: list[Stage]) -> None:
        for stage in stages:
            await stage.load()

    async def _work(self, stage: Stage, request: WireModel, files: RequestFiles, task: Task) -> None:
        begun = time.monotonic()

        def started() -> None:
            nonlocal begun
            begun, task.running = time.monotonic(), True

        outcome = "failed"
        try:
            result = await stage.run(request, files, started)
            self.tasks.succeed(task, result.model_dump_json().encode("utf-8"))
            outcome = "succeeded"
        except RequestError as error:
            self.tasks.fail(task, error)
        except asyncio.CancelledError:
            self.tasks.fail(task, EngineFailed("the server is stopping"))
            raise
        finally:
            self._metrics.stage_ended(stage.name, outcome, time.monotonic() - begun)
            files.close()

    def _spawn(self, work: "asyncio.Future[None] | object") -> None:
        running = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._background.add(running)
        running.add_done_callback(self._background.discard)


def parse(stage: Stage, body: bytes) -> WireModel:
    """The stage's request. Raises InvalidRequest: 400 when the body is no JSON, 422 when it breaks the model."""
    try:
        request = stage.request_model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        status = 400 if any(fault["type"] == "json_invalid" for fault in faults) else 422
        raise InvalidRequest(faults_of(faults), status=status) from None
    output = getattr(request, "output_file_id", None)
    if output is not None and output == getattr(request, "file_id", None):
        raise InvalidRequest("output_file_id: must differ from file_id")
    return request


def server_version() -> str:
    try:
        return version("cofi")
    except PackageNotFoundError:
        return "0"
