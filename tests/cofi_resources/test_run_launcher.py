"""A run whose process is gone is found, and one whose code server is only away for a moment is left alone."""

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import serialize_value

from cofi_resources.run_launcher import MonitoredRunLauncher


class CodeServer:
    """What the launcher asks of a code server; `processes` holds the runs it has processes of."""

    def __init__(self) -> None:
        self.processes: set[str] = set()
        self.is_reachable = True

    def can_cancel_execution(self, request: CanCancelExecutionRequest, timeout: int) -> str:
        if not self.is_reachable:
            raise DagsterUserCodeUnreachableError("away")
        return serialize_value(CanCancelExecutionResult(can_cancel=request.run_id in self.processes))


class Launcher(MonitoredRunLauncher):
    def __init__(self, server: CodeServer | None) -> None:
        self.server = server
        self.now = 0.0
        super().__init__(grace_s=30.0, clock=lambda: self.now)

    def _get_grpc_client_for_termination(self, run_id: str):
        return self.server


@pytest.fixture
def server() -> CodeServer:
    return CodeServer()


RUN = dg.DagsterRun(job_name="audit", run_id="a-run")


def test_a_run_whose_process_lives_is_running(server: CodeServer) -> None:
    server.processes.add(RUN.run_id)
    assert Launcher(server).check_run_worker_health(RUN).status is WorkerStatus.RUNNING


def test_a_run_its_code_server_does_not_know_has_failed(server: CodeServer) -> None:
    assert Launcher(server).check_run_worker_health(RUN).status is WorkerStatus.FAILED


def test_a_run_that_was_never_given_to_a_code_server_is_not_found() -> None:
    assert Launcher(None).check_run_worker_health(RUN).status is WorkerStatus.NOT_FOUND


def test_a_code_server_may_be_away_for_its_grace_and_not_longer(server: CodeServer) -> None:
    launcher = Launcher(server)
    server.is_reachable = False
    assert launcher.check_run_worker_health(RUN).status is WorkerStatus.RUNNING
    launcher.now = 29.0
    assert launcher.check_run_worker_health(RUN).status is WorkerStatus.RUNNING
    launcher.now = 31.0
    assert launcher.check_run_worker_health(RUN).status is WorkerStatus.FAILED


def test_a_code_server_that_comes_back_has_its_whole_grace_again(server: CodeServer) -> None:
    launcher = Launcher(server)
    server.processes.add(RUN.run_id)
    server.is_reachable = False
    launcher.check_run_worker_health(RUN)
    server.is_reachable = True
    launcher.now = 29.0
    launcher.check_run_worker_health(RUN)
    server.is_reachable = False
    launcher.now = 50.0
    assert launcher.check_run_worker_health(RUN).status is WorkerStatus.RUNNING
