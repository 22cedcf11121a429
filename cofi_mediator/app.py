"""The protocol's routes over the service.

What belongs here: reading requests, choosing answers. What does not: files, stages and tasks (`service.py`), errors
and authentication (`boundary.py`). `create_app` is the one composition root.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Query, Request, Response

from cofi_mediator.boundary import Boundary, add_problem_handlers
from cofi_mediator.engines.interface import Engines
from cofi_mediator.errors import InvalidRequest, Loading, TooLarge, UnknownFile
from cofi_mediator.metrics import Metrics
from cofi_mediator.service import MediatorService
from cofi_mediator.settings import MediatorSettings
from cofi_mediator.tasks import Task
from cofi_mediator.uploads import UploadLimits, format_digest, receive
from cofi_resources.mediators.protocol import (
    FILE_ID_PATTERN,
    STAGE_MODELS,
    Problem,
    StageStatus,
    StoredFile,
    TaskStatus,
)

MAX_BODY_BYTES = 16 << 20
MAX_KEY_CHARACTERS = 255
LONGEST_WAIT_S = 60.0
JSON = "application/json"


def create_app(settings: MediatorSettings, engines: Engines, extra_engines: Engines | None = None) -> FastAPI:
    """The server for `engines` by stage name; `extra_engines` come on top (llm1, llm2 where an LLM is configured).

    Stages without an engine are absent. The app's lifespan opens the store and loads the engines.
    """
    chosen = {**engines, **(extra_engines or {})}
    unknown = sorted(set(chosen) - set(STAGE_MODELS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: the protocol knows no such stage")
    metrics = Metrics()
    service = MediatorService(settings, chosen, metrics)
    metrics.watch(service.status)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title="cofi-mediator", lifespan=lifespan, openapi_url=None)
    key = settings.mediator_api_key
    app.add_middleware(Boundary, api_key=key.get_secret_value() if key else None, metrics=metrics)
    add_problem_handlers(app)
    _add_file_routes(app, service)
    _add_stage_routes(app, service)
    _add_state_routes(app, service, metrics)
    return app


def _add_file_routes(app: FastAPI, service: MediatorService) -> None:
    limits = UploadLimits(service.settings.mediator_max_file_bytes, service.settings.mediator_upload_timeout_s)

    @app.put("/v1/files/{file_id}")
    async def put_file(file_id: str, request: Request, response: Response) -> StoredFile:
        stored, created = await receive(request, service.store, checked_id(file_id), limits)
        response.status_code = 201 if created else 200
        return StoredFile(
            file_id=stored.file_id, bytes=stored.bytes, sha256=stored.sha256, duration_s=stored.duration_s
        )

    @app.head("/v1/files/{file_id}")
    async def head_file(file_id: str) -> Response:
        stored = service.store.get(checked_id(file_id))
        if stored is None:
            raise UnknownFile(f"{file_id} is not stored here: upload it again")
        headers = {"Content-Length": str(stored.bytes), "Content-Digest": format_digest(stored.sha256)}
        return Response(headers=headers, media_type="application/octet-stream")

    @app.delete("/v1/files/{file_id}")
    async def delete_file(file_id: str) -> Response:
        await asyncio.to_thread(service.store.delete, checked_id(file_id))
        return Response(status_code=204)


def _add_stage_routes(app: FastAPI, service: MediatorService) -> None:
    @app.post("/v1/stages/{stage}")
    async def run_stage(
        stage: str,
        request: Request,
        idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_CHARACTERS)] = None,
        prefer: Annotated[str, Header()] = "",
    ) -> Response:
        task = service.submit(stage, await _body(request), idempotency_key or None)
        if "respond-async" in prefer.lower() and not task.ended.is_set():
            return Response(task_json(task), 202, {"Location": task.location}, JSON)
        await task.ended.wait()
        if task.error is not None:
            raise task.error
        return Response(task.result, media_type=JSON)

    @app.get("/v1/tasks/{task_id}")
    async def get_task(task_id: str, wait: Annotated[float, Query(ge=0)] = 0.0) -> Response:
        task = service.tasks.get(task_id)
        if task is None:
            raise InvalidRequest("no such task: it is long over, or the server was started anew", status=404)
        if wait:
            try:
                async with asyncio.timeout(min(wait, LONGEST_WAIT_S)):
                    await task.ended.wait()
            except TimeoutError:
                pass
        return Response(task_json(task), media_type=JSON)

    @app.post("/v1/stages/{stage}/activate")
    async def activate(stage: str) -> StageStatus:
        return (await service.activate(stage)).status()

    @app.post("/v1/stages/{stage}/deactivate")
    async def deactivate(stage: str) -> StageStatus:
        return (await service.deactivate(stage)).status()


def _add_state_routes(app: FastAPI, service: MediatorService, metrics: Metrics) -> None:
    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        reason = service.not_ready_because()
        if reason:
            raise Loading(reason, retry_after_s=1.0)
        return {"status": "ready"}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get("/v1/status")
    async def status() -> Response:
        machine = await asyncio.to_thread(service.status)
        return Response(machine.model_dump_json(), media_type=JSON)

    @app.get("/metrics")
    async def metrics_text() -> Response:
        return Response(await asyncio.to_thread(metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8")


def checked_id(file_id: str) -> str:
    """Raises InvalidRequest (422) for what cannot be a file id."""
    if re.fullmatch(FILE_ID_PATTERN, file_id) is None:
        raise InvalidRequest("file_id: 1 to 120 of A-Z a-z 0-9 . _ -")
    return file_id


def task_json(task: Task) -> str:
    """The task as `TaskStatus`; the stored result is put in as it is, without being parsed again."""
    error = None
    if task.error is not None:
        error = Problem(
            title=task.error.title,
            status=task.error.status,
            detail=task.error.detail,
            code=task.error.code,
            retryable=task.error.retryable,
        )
    status = TaskStatus.model_validate({"state": task.state, "error": error})
    text = status.model_dump_json()
    return text if task.result is None else text.replace('"result":null', f'"result":{task.result.decode("utf-8")}', 1)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"the request is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)
