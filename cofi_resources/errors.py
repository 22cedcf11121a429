"""The tree of failures.

    CofiError
    ├── PermanentError        final for this input: a retry cannot help
    │   ├── InvalidInput      the caller's input breaks a rule; names the field and the file
    │   ├── UnreadableAudio   the file is no audio, truncated, or empty
    │   ├── MissingUpstream   a stage was asked for before what it builds on exists
    │   └── ValueRefused      the database does not take a value: too long, out of range, no text
    ├── TransientError        may pass: try again, here or elsewhere, after `retry_after_s`
    │   ├── MachineUnavailable   no answer, refused, 5xx, or its breaker is open
    │   ├── MachineBusy          429 or 503 with Retry-After
    │   └── DatabaseUnavailable  no connection, deadlock, or lock wait past the retry budget
    ├── ClaimLost             another run has taken over this run's calls: stop, and write nothing
    ├── BadAnswer             a service said success and its answer does not hold: wrong schema or meaning
    └── ConfigError           the installation is set up wrongly; the message says which setting

What belongs here: classes that say what a retry means. What does not: formatting, logging.
A message says what happened, to which file or setting, and what to do.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The request behind a failure, as `processing_logs` keeps it. Never holds a credential."""

    url: str
    payload: str = ""
    response: str = ""


class CofiError(Exception):
    """Root of every failure this project raises on purpose."""

    def __init__(self, message: str, *, trace: RequestTrace | None = None) -> None:
        super().__init__(message)
        self.trace = trace


class PermanentError(CofiError):
    """Final for this input; trying again gives the same."""


class InvalidInput(PermanentError):
    """The input breaks a rule; the message names the field and the file."""


class UnreadableAudio(PermanentError):
    """The file cannot be decoded as audio."""


class MissingUpstream(PermanentError):
    """A stage was asked for before the results it builds on exist."""


class ValueRefused(PermanentError):
    """The database does not take a value; nothing of its transaction was stored."""


class TransientError(CofiError):
    """May pass. `retry_after_s` is the least wait the other side asked for, if it did."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, trace: RequestTrace | None = None) -> None:
        super().__init__(message, trace=trace)
        self.retry_after_s = retry_after_s


class MachineUnavailable(TransientError):
    """A machine gave no answer, refused the connection, or failed on its side."""


class MachineBusy(TransientError):
    """A machine is alive and asks to be called later."""


class DatabaseUnavailable(TransientError):
    """The database could not be reached, or a transaction kept failing, past the retry budget."""


class BadAnswer(CofiError):
    """A service answered success with something that is no answer. Tried again, then final."""


class ClaimLost(CofiError):
    """The run's calls were taken over by another run; this one must stop."""


class ConfigError(CofiError):
    """The installation is set up wrongly; the message names the setting and the remedy."""
