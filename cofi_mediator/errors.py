"""The mediator's tree of failures, and the problem each becomes on the wire.

    MediatorError
    ├── WrongSettings        stops the start; never on the wire
    ├── ModelUnavailable     weights are missing or broken; the message says what to do
    └── RequestError         has a status, a code, and says whether a retry may help
        ├── UnknownFile 404, UnknownStage 404, Unauthorized 401
        ├── InvalidRequest 422 (400 where the request could not be read at all)
        ├── DigestMismatch 422 / 409, TooLarge 413, UnsupportedMedia 415, UnreadableAudio 422
        ├── KeyInUse 409     the same idempotency key is being worked on
        ├── Busy 429, Loading 503 (with `retry_after_s`), DiskFull 507
        └── EngineFailed 500

What belongs here: classes only. What does not: formatting an answer (`boundary.py`).
*Decision:* this tree does not share classes with `cofi_resources.errors`: a mediator runs on machines where nothing
of the orchestrator but the wire models is wanted.
"""

from typing import ClassVar

from cofi_resources.mediators.protocol import ProblemCode


class MediatorError(Exception):
    """Root of every failure this server raises on purpose."""


class WrongSettings(MediatorError):
    """A setting is wrong; the message names it."""


class ModelUnavailable(MediatorError):
    """Model weights are missing, incomplete or of the wrong kind; the message says what to do."""


class RequestError(MediatorError):
    """Ends one request. Subclasses say with which status and code, and whether the same request may succeed later."""

    status: int = 500
    code: ClassVar[ProblemCode] = ProblemCode.ENGINE_FAILED
    title: ClassVar[str] = "Request failed"
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str, *, status: int | None = None, retry_after_s: float | None = None, location: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.location = location
        if status is not None:
            self.status = status


class UnknownFile(RequestError):
    status, code, title = 404, ProblemCode.UNKNOWN_FILE, "No such file here"
    retryable = True


class UnknownStage(RequestError):
    status, code, title = 404, ProblemCode.UNKNOWN_STAGE, "This machine does not offer that"


class Unauthorized(RequestError):
    status, code, title = 401, ProblemCode.UNAUTHORIZED, "A valid bearer key is needed"


class InvalidRequest(RequestError):
    status, code, title = 422, ProblemCode.INVALID_REQUEST, "The request breaks a rule"


class DigestMismatch(RequestError):
    status, code, title = 422, ProblemCode.DIGEST_MISMATCH, "The bytes do not match"


class TooLarge(RequestError):
    status, code, title = 413, ProblemCode.TOO_LARGE, "The file is too large"


class UnsupportedMedia(RequestError):
    status, code, title = 415, ProblemCode.UNSUPPORTED_MEDIA, "The file is no audio in a known format"


class UnreadableAudio(RequestError):
    status, code, title = 422, ProblemCode.UNREADABLE_AUDIO, "The audio cannot be decoded"


class KeyInUse(RequestError):
    status, code, title = 409, ProblemCode.BUSY, "This idempotency key is being worked on"
    retryable = True


class Busy(RequestError):
    status, code, title = 429, ProblemCode.BUSY, "This stage is at its capacity"
    retryable = True


class Loading(RequestError):
    status, code, title = 503, ProblemCode.LOADING, "This stage has no model loaded"
    retryable = True


class DiskFull(RequestError):
    status, code, title = 507, ProblemCode.DISK_FULL, "This machine has no room for the file"
    retryable = True


class EngineFailed(RequestError):
    status, code, title = 500, ProblemCode.ENGINE_FAILED, "The engine failed"
    retryable = True
