"""Around every request: its id, its key, and an answer whatever happens.

What belongs here: request ids, bearer authentication, turning every failure into `application/problem+json`, and
counting answers. What does not: routes (`app.py`), the failures themselves (`errors.py`).
*Decision:* one ASGI layer outside the routes, so that no answer can leave without a request id, and an exception
nobody thought of is a problem document too.
*Decision:* `/health` is open like `/livez` and `/readyz`: it answers as the older mediators do, which ask no key.
"""

import hmac
import logging
import re
import time
import uuid
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cofi_mediator.errors import EngineFailed, InvalidRequest, RequestError, Unauthorized
from cofi_mediator.metrics import Metrics
from cofi_resources.mediators.protocol import PROBLEM_MEDIA_TYPE, Problem

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

log = logging.getLogger(__name__)


class Boundary:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, metrics: Metrics) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode() if api_key else None
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        if REQUEST_ID.fullmatch(request_id) is None:
            request_id = uuid.uuid4().hex
        status = 0
        begun = time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("latin-1"))]
            await send(message)

        try:
            self._authenticate(scope["path"], headers)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            log.info("[%s] the client left %s %s", request_id, scope["method"], scope["path"])
        except RequestError as error:
            await problem_response(error)(scope, receive, answer)
        # Nothing may leave this server without an answer in the protocol's one error shape.
        except Exception as error:
            log.exception("[%s] %s %s failed", request_id, scope["method"], scope["path"])
            if not status:
                unexpected = EngineFailed(
                    f"unexpected {type(error).__name__}; the server's log has request {request_id}"
                )
                await problem_response(unexpected)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(scope["method"], route, status, time.monotonic() - begun)

    def _authenticate(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._expected is None or path in OPEN_PATHS:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            raise Unauthorized("send Authorization: Bearer <key>")


def problem_response(error: RequestError) -> JSONResponse:
    problem = Problem(
        title=error.title, status=error.status, detail=error.detail, code=error.code, retryable=error.retryable
    )
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = f"{error.retry_after_s:g}"
    if error.location is not None:
        headers["Location"] = error.location
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.model_dump(), error.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Makes the framework's own errors take the same shape as ours."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestError)
        return problem_response(error)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return problem_response(InvalidRequest(faults_of(error.errors())))

    async def framework(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        response = problem_response(InvalidRequest(str(error.detail), status=error.status_code))
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(RequestError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)


def faults_of(errors: object) -> str:
    """pydantic's list of errors as one line that names each field, without the values that were sent."""
    assert isinstance(errors, list | tuple)
    return "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in errors)
