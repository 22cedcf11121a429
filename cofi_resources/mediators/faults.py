"""What can go wrong with one request to one machine, told apart by what is to be done next.

    MachineUnavailable
    ├── NoConnection       nothing was delivered: the machine is away
    ├── AnswerLost         delivered, and the answer broke off: ask the same machine, it remembers the key
    ├── NoAnswerInTime     delivered, and nothing came
    ├── StageNotOffered    this machine does not do that
    └── DiskFull           no room for the file: another machine may have some
    MachineBusy
    └── KeyInProgress      the same idempotency key is being worked on there: ask again, there
    TransientError
    └── FileUnknown        the machine does not have the file: upload it again
    ConfigError
    └── KeyRefused         this machine does not accept our key

What belongs here: failures an adapter reports to the pool that the pool itself mends. What does not: failures that
reach a call (`cofi_resources/errors.py`); a caller who meets one of these sees its parent class.
"""

from cofi_resources.errors import ConfigError, MachineBusy, MachineUnavailable, TransientError


class NoConnection(MachineUnavailable):
    """The machine was not reached at all, so the request had no effect."""


class AnswerLost(MachineUnavailable):
    """The request may have been worked on, and its answer did not arrive whole."""


class NoAnswerInTime(MachineUnavailable):
    """The machine took longer than the request's timeout."""


class StageNotOffered(MachineUnavailable):
    """The machine does not offer the stage."""


class DiskFull(MachineUnavailable):
    """The machine cannot store the file."""


class KeyInProgress(MachineBusy):
    """The same idempotency key is being worked on there."""


class FileUnknown(TransientError):
    """The machine does not have the file."""


class KeyRefused(ConfigError):
    """The machine asks for a key, and does not accept ours."""
