"""Child processes of a foreground command: started together, watched, and ended together.

What belongs here: starting, probing and ending processes. What does not: which processes there are (`dev.py`).
Every child leads a process group of its own, so that what it starts in turn (run workers of the code server) ends with
it, and writes to a log file of its own.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cofi_resources.errors import CofiError, ConfigError

STOP_WITHIN_S = 7.0
"""Seconds a child may take to end by itself before it is killed."""

POLL_S = 0.2
LOG_LINES_SHOWN = 15


class ChildDied(CofiError):
    """A child process ended by itself, or was never ready; the message holds the end of its log."""


class Stopped(Exception):
    """The command was asked to end: no failure, and nothing to report."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process. `ready` is asked until it is true; it is called with no lock held and may do I/O."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], bool]
    ready_within_s: float = 120.0


@dataclass(slots=True)
class Children:
    """The processes of one foreground command. A context manager: leaving it ends them all."""

    log_folder: Path
    stop_within_s: float = STOP_WITHIN_S
    _running: list[tuple[ChildSpec, "subprocess.Popen[bytes]"]] = field(default_factory=list)

    def __enter__(self) -> "Children":
        self.log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()

    def start(self, spec: ChildSpec) -> None:
        with self.log_of(spec).open("ab") as log:
            process = subprocess.Popen(
                list(spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(spec.environment),
                start_new_session=True,
            )
        self._running.append((spec, process))

    def wait_until_ready(self, stopped: Callable[[], bool]) -> None:
        """Wait for every child in turn. ChildDied if one ends or is late; returns early once `stopped()`."""
        for spec, _ in list(self._running):
            deadline = time.monotonic() + spec.ready_within_s
            while not stopped() and not spec.ready():
                self.check_alive()
                if time.monotonic() > deadline:
                    raise ChildDied(f"{spec.name} was not ready within {spec.ready_within_s:g} s. {self._tail(spec)}")
                time.sleep(POLL_S)

    def check_alive(self) -> None:
        for spec, process in self._running:
            if (code := process.poll()) is not None:
                raise ChildDied(f"{spec.name} ended with status {code}. {self._tail(spec)}")

    def end_all(self) -> None:
        """Ask every child's group to end, the last started first, then kill what is left."""
        for _, process in reversed(self._running):
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_within_s
        for _, process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for _, process in self._running:
            # Also when the leader has ended: a run worker may outlive the code server that started it.
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._running.clear()

    def log_of(self, spec: ChildSpec) -> Path:
        return self.log_folder / f"{spec.name}.log"

    def _tail(self, spec: ChildSpec) -> str:
        path = self.log_of(spec)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"The end of {path}:", *(f"    {line}" for line in lines)])


def run_unless_stopped(
    command: Sequence[str], environment: Mapping[str, str], log: Path, stop: threading.Event
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end; its output comes back, its errors go to `log`.

    Raises Stopped within STOP_WITHIN_S once `stop` is set; the command and all it started have ended then. They are
    interrupted, as by Ctrl-C, so that they can remove their unfinished files.
    """
    raise_if(stop)
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(environment),
            start_new_session=True,
        ) as process,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, _ = process.communicate(timeout=POLL_S)
                    return subprocess.CompletedProcess(list(command), process.returncode, output)
                raise_if(stop)
        finally:
            if process.returncode is None:
                _signal_group(process, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_WITHIN_S)
                _signal_group(process, signal.SIGKILL)


def raise_if(stop: threading.Event) -> None:
    """Stopped, if the command was asked to end."""
    if stop.is_set():
        raise Stopped


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def require_free_port(port: int, what: str, option: str) -> None:
    """ConfigError that names the port, what it is for and the option that changes it, if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port}, wanted for {what}, is taken ({error.strerror}): end the program that holds it or "
                f"choose another with {option}"
            ) from None


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
