"""One measured run of the audit job, in a process of its own.

    python -m bench.audit_run RUN_ID

What belongs here: executing a run that was created before, as a run's process does in production, and measuring that
process. What does not: creating the run (`batch.py`). The installation comes from the environment, as there: COFI_HOME,
COFI_DATABASE_URL, GPU_MACHINES, LLM_BACKEND, DAGSTER_HOME, DAGSTER_EVENT_BATCH_SIZE.
Prints one JSON object (`RunMeasure`).
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from bench.proc import own_peak_bytes
from cofi_assets.definitions import AUDIT_JOB, build_definitions
from cofi_resources.settings import Settings


@dataclass(frozen=True, slots=True)
class RunMeasure:
    """`wall_s` and `cpu_s` are of the run itself: imports and definitions are before it, and in `start_cpu_s`."""

    success: bool
    wall_s: float
    cpu_s: float
    start_cpu_s: float
    peak_rss_bytes: int


def measure_run(run_id: str) -> RunMeasure:
    job = InMemoryJob(build_definitions(Settings.load()).resolve_job_def(AUDIT_JOB))
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None:
            raise SystemExit(f"Dagster knows no run {run_id}")
        wall, cpu = time.perf_counter(), time.process_time()
        result = execute_run(job, run, instance)
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return RunMeasure(result.success, wall_s, cpu_s, cpu, own_peak_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Execute and measure one run of the audit job.")
    parser.add_argument("run_id")
    print(json.dumps(asdict(measure_run(parser.parse_args().run_id))))


if __name__ == "__main__":
    main()
