"""The adapter for machines that speak the mediator protocol, version 1.

What belongs here: its paths and headers, and reading its answers. What does not: the models (`protocol.py`), what an
error answer means (`problems.py`), what is done about a failure (`pool.py`).
An answer counts only if its status, its schema and its meaning are right: an HTTP error with a JSON body is an error.
"""

import base64
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from cofi_resources.errors import BadAnswer, CofiError, MachineUnavailable
from cofi_resources.mediators.exchange import Answer, MachineHttp
from cofi_resources.mediators.faults import AnswerLost, NoAnswerInTime
from cofi_resources.mediators.local_audio import Contents, FileBody, LocalAudio
from cofi_resources.mediators.problems import failure_of, problem_of, retry_after_s
from cofi_resources.mediators.protocol import (
    STAGE_MODELS,
    MachineStatus,
    Problem,
    StoredFile,
    TaskStatus,
    WireModel,
)
from cofi_resources.mediators.validation import fault_for_file, fault_of

M = TypeVar("M", bound=WireModel)

TASK_WAIT_S = 30.0
TASKS = "/v1/tasks/"
LONGEST_NAME_CHARACTERS = 300


class V1Adapter:
    """One machine over the protocol's HTTP. Stateless: every method is one attempt."""

    def __init__(self, http: MachineHttp, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock

    def stage_url(self, stage: str) -> str:
        return f"{self._http.url}/v1/stages/{stage}"

    async def status(self) -> MachineStatus:
        about = "status"
        answer = await self._http.send("GET", "/v1/status", about=about, timeout_s=self._http.options.status_s)
        return self._read(self._succeeded(answer, about), MachineStatus, about)

    async def has(self, audio: LocalAudio, contents: Contents) -> bool:
        about = f"{audio.name}: asking for the file"
        answer = await self._http.send(
            "HEAD", f"/v1/files/{audio.file_id}", about=about, timeout_s=self._http.options.request_s
        )
        if answer.status == 404:
            return False
        self._succeeded(answer, about)
        return answer.headers.get("Content-Digest") == content_digest(contents.sha256)

    async def upload(self, audio: LocalAudio, contents: Contents) -> float:
        about = f"{audio.name}: upload"
        options = self._http.options
        body = FileBody(audio, contents)
        try:
            answer = await self._http.send(
                "PUT",
                f"/v1/files/{audio.file_id}",
                about=about,
                timeout_s=options.request_s + contents.size_bytes / options.upload_bytes_per_s,
                shown=f"{contents.size_bytes} bytes of {audio.name}",
                content=body,
                headers={
                    "Content-Length": str(contents.size_bytes),
                    "Content-Type": "application/octet-stream",
                    "Content-Digest": content_digest(contents.sha256),
                    "X-File-Name": quote(audio.name[:LONGEST_NAME_CHARACTERS], safe=""),
                },
            )
        except MachineUnavailable as error:
            # To the client, a body that cannot be read looks like a broken connection.
            if body.fault is not None:
                body.fault.trace = error.trace
                raise body.fault from error
            raise
        if body.fault is not None:
            raise body.fault
        stored = self._read(self._succeeded(answer, about), StoredFile, about)
        if (stored.file_id, stored.bytes, stored.sha256) != (audio.file_id, contents.size_bytes, contents.sha256):
            raise BadAnswer(
                f"{about}: {self._http.url} says it stored other bytes than it was sent", trace=self._http.trace(answer)
            )
        return stored.duration_s

    async def run_stage(
        self, stage: str, request: WireModel, *, key: str, about: str, timeout_s: float, duration_s: float
    ) -> WireModel:
        deadline = self._clock() + timeout_s
        body = request.model_dump_json()
        answer = await self._http.send(
            "POST",
            f"/v1/stages/{stage}",
            about=about,
            timeout_s=timeout_s,
            shown=body,
            content=body.encode("utf-8"),
            headers={"Content-Type": "application/json", "Idempotency-Key": key},
        )
        self._succeeded(answer, about)
        model = STAGE_MODELS[stage][1]
        if answer.status == 202:
            result = await self._await_task(answer, model, about, deadline)
        else:
            result = self._read(answer, model, about)
        fault = fault_of(request, result) or fault_for_file(result, duration_s)
        if fault is not None:
            raise BadAnswer(
                f"{about}: {answer.url} gave an answer that does not hold: {fault}", trace=self._http.trace(answer)
            )
        return result

    async def _await_task(self, accepted: Answer, model: type[M], about: str, deadline: float) -> M:
        """The result of a request that was answered with 202; the server holds each question up to TASK_WAIT_S."""
        path = accepted.headers.get("Location", "").removeprefix(self._http.url)
        if not path.startswith(TASKS):
            raise BadAnswer(
                f"{about}: {accepted.url} answered 202 without the Location of a task", trace=self._http.trace(accepted)
            )
        while (left_s := deadline - self._clock()) > 0:
            wait_s = min(TASK_WAIT_S, left_s)
            answer = await self._http.send(
                "GET",
                f"{path}?wait={wait_s:.3f}",
                about=about,
                timeout_s=wait_s + self._http.options.status_s,
                shown=accepted.shown,
            )
            if answer.status == 404:
                # The server was started anew; the request is sent again under its key.
                raise AnswerLost(f"{about}: {answer.url} is not known any more", trace=self._http.trace(answer))
            task = self._read(self._succeeded(answer, about), TaskStatus, about)
            if task.state == "succeeded":
                return self._result_of(task, model, answer, about)
            if task.state == "failed":
                failed = task.error or Problem(title="failed without a reason", status=500, code="engine_failed")
                raise self._failure(failed, answer, about)
        raise NoAnswerInTime(f"{about}: {accepted.url} did not finish in time", trace=self._http.trace(accepted))

    def _result_of(self, task: TaskStatus, model: type[M], answer: Answer, about: str) -> M:
        try:
            return model.model_validate(task.result)
        except ValidationError as error:
            raise self._no_model(model, error, answer, about) from None

    def _read(self, answer: Answer, model: type[M], about: str) -> M:
        try:
            return model.model_validate_json(answer.body)
        except ValidationError as error:
            raise self._no_model(model, error, answer, about) from None

    def _no_model(self, model: type[WireModel], error: ValidationError, answer: Answer, about: str) -> BadAnswer:
        return BadAnswer(
            f"{about}: {answer.url} gave no {model.__name__}: {first_fault(error)}", trace=self._http.trace(answer)
        )

    def _succeeded(self, answer: Answer, about: str) -> Answer:
        """The answer itself, if it is a success; else raises the failure it means."""
        if 200 <= answer.status < 300:
            return answer
        raise self._failure(problem_of(answer), answer, about)

    def _failure(self, problem: Problem, answer: Answer, about: str) -> CofiError:
        reason = " ".join(part for part in (problem.code, problem.detail or problem.title) if part)
        said = f"{about}: {answer.url} answered {problem.status} {self._http.masked(reason)}"
        wait_s = retry_after_s(answer.headers.get("Retry-After"), self._http.options.longest_retry_after_s)
        return failure_of(problem, said, self._http.trace(answer), wait_s)


def content_digest(sha256: str) -> str:
    """The value of `Content-Digest` (RFC 9530) for a SHA-256 in hexadecimal."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode('ascii')}:"


def first_fault(error: ValidationError) -> str:
    """Where and why the first field broke the model, without the value."""
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
