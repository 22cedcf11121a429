"""Dagster's default run launcher, able to tell whether a run's process is still there.

What belongs here: asking a run's code server for the run's process. What does not: what is done when it is gone
(Dagster's run monitoring marks the run failed, and its run retries take up what is not done).
Decision: the stock launcher answers no such question, so a run whose code server was restarted, or whose machine was
rebooted, stays *Started* for ever and its calls stay unfinished (seen on Dagster 1.13). A code server that cannot be
reached may be restarting: only after `grace_s` does it count as gone. Should the process live on all the same, it is
kept from writing by its lost claims (`database/registry.hold_claims`).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData, deserialize_value

ANSWER_WITHIN_S = 10
DEFAULT_GRACE_S = 30.0


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """Launches runs in the code server, as the stock launcher does, and checks on them when run monitoring asks."""

    def __init__(
        self,
        inst_data: ConfigurableClassData | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._unreachable_since: dict[str, float] = {}
        super().__init__(inst_data)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {
            "grace_s": dg.Field(
                float,
                is_required=False,
                default_value=DEFAULT_GRACE_S,
                description="Seconds a run's code server may be away before the run's process counts as gone.",
            )
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "MonitoredRunLauncher":
        return cls(inst_data, grace_s=config_value["grace_s"])

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the run's code server has its process, or has been away for less than the grace."""
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the run was never given to a code server")
        request = CanCancelExecutionRequest(run_id=run.run_id)
        try:
            answer = client.can_cancel_execution(request, timeout=ANSWER_WITHIN_S)
        except DagsterUserCodeUnreachableError:
            return self._while_unreachable(run.run_id)
        self._unreachable_since.pop(run.run_id, None)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its code server has no process of this run (any more)")

    def _while_unreachable(self, run_id: str) -> CheckRunHealthResult:
        now = self._clock()
        away_s = now - self._unreachable_since.setdefault(run_id, now)
        if away_s < self._grace_s:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"its code server is away, for {away_s:.0f} s so far")
        del self._unreachable_since[run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its code server has been away for {away_s:.0f} s")
