"""Child processes: watched until they are ready, reported with their last words, and ended with all they started."""

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cofi_api.processes import (
    LOG_LINES_SHOWN,
    STOP_WITHIN_S,
    ChildDied,
    Children,
    ChildSpec,
    free_port,
    require_free_port,
)
from cofi_resources.errors import ConfigError
from cofi_resources.settings import child_environment

PATIENCE_S = 20.0


def never() -> bool:
    return False


def child(code: str, ready: Callable[[], bool] = never, name: str = "worker", **fields) -> ChildSpec:
    return ChildSpec(name, [sys.executable, "-c", code], child_environment(), ready, **fields)


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and waits to be collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_child_that_ends_is_reported_with_its_status_and_the_end_of_its_log(tmp_path: Path) -> None:
    last_words = "for line in range(100): print('line', line)\nraise SystemExit(3)"
    with Children(tmp_path / "logs") as children:
        children.start(child(last_words))
        with pytest.raises(ChildDied, match="worker ended with status 3") as died:
            children.wait_until_ready(never)
    assert "line 99" in str(died.value)
    assert f"line {99 - LOG_LINES_SHOWN}\n" not in str(died.value)
    assert str(tmp_path / "logs" / "worker.log") in str(died.value)


def test_a_child_that_ends_later_is_reported_too(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(child("import sys; sys.stdin.read(); print('the end')", ready=lambda: True))
        children.wait_until_ready(never)

        def has_died() -> bool:
            try:
                children.check_alive()
            except ChildDied as died:
                return "the end" in str(died)
            return False

        assert wait_for(has_died)


def test_a_child_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(child("import time; time.sleep(600)", ready_within_s=0.05))
        with pytest.raises(ChildDied, match=r"worker was not ready within 0\.05 s"):
            children.wait_until_ready(never)


def test_waiting_ends_when_the_command_is_to_stop(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(child("import time; time.sleep(600)"))
        children.wait_until_ready(lambda: True)


def test_what_a_child_has_started_ends_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    family = (
        "import os, subprocess, sys, time\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r} + '.new', 'w').write(f'{{os.getpid()}} {{inner.pid}}')\n"
        f"os.rename({str(pids)!r} + '.new', {str(pids)!r})\n"
        "time.sleep(600)\n"
    )
    with Children(tmp_path) as children:
        children.start(child(family, ready=pids.exists))
        children.wait_until_ready(never)
        both = [int(pid) for pid in pids.read_text().split()]
        assert all(is_alive(pid) for pid in both)
    assert wait_for(lambda: not any(is_alive(pid) for pid in both))


def test_a_child_that_does_not_want_to_end_is_killed_in_time(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    stubborn = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(deaf)!r}).touch()\n"
        "time.sleep(600)\n"
    )
    with Children(tmp_path, stop_within_s=0.2) as children:
        children.start(child(stubborn, ready=deaf.exists))
        children.wait_until_ready(never)
        began = time.monotonic()
    assert time.monotonic() - began < 5.0
    assert STOP_WITHIN_S < 10.0, "cofi dev ends with all its children within 10 s"


def test_an_error_of_the_command_ends_the_children_as_well(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    noting = f"import os, time; os.symlink(str(os.getpid()), {str(pid)!r}); time.sleep(600)"
    with pytest.raises(ZeroDivisionError), Children(tmp_path) as children:
        children.start(child(noting, ready=pid.is_symlink))
        children.wait_until_ready(never)
        raise ZeroDivisionError
    assert not is_alive(int(pid.readlink().name))


def test_a_taken_port_is_named_with_what_it_is_for_and_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}, wanted for Dagster's page, is taken .* --port"):
            require_free_port(port, "Dagster's page", "--port")
    require_free_port(free_port(), "Dagster's page", "--port")
