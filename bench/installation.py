"""A measured installation: a folder, its settings in the environment, and its runs as processes.

What belongs here: setting one up and running a batch through it. What does not: what is made of the figures.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.audit_run import RunMeasure
from bench.batch import CreatedRuns
from bench.databases import REPOSITORY, MeasuredDatabase
from cofi_api.dev import DAGSTER_BATCH_SIZE

FILES_PER_RUN = 1000
RECORDING_BYTES = 16_384
"""Small: with stub machines the size of a recording measures the line and the digest, not the pipeline."""


@dataclass(frozen=True, slots=True)
class BatchMeasure:
    """A batch's way through all stages. `calls_per_s` counts from creating the runs to the end of the last one."""

    calls: int
    created: CreatedRuns
    runs: tuple[RunMeasure, ...]
    database_cpu_s: float

    @property
    def wall_s(self) -> float:
        return self.created.wall_s + sum(run.wall_s for run in self.runs)

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.wall_s

    @property
    def run_cpu_ms_per_call(self) -> float:
        return 1000.0 * sum(run.cpu_s for run in self.runs) / self.calls

    @property
    def peak_rss_bytes(self) -> int:
        return max(run.peak_rss_bytes for run in self.runs)

    @property
    def events_per_s(self) -> float:
        """Dagster events of calls that were stored: one planned and one of the outcome for each call and stage."""
        return 2 * self.created.planned_events / self.wall_s


@dataclass(frozen=True, slots=True)
class MeasuredInstallation:
    """An installation in `home`, which must not exist yet, on one kind of database."""

    home: Path
    database: MeasuredDatabase
    machines: Sequence[str]
    bulk_events: bool = True

    def work_through(self, calls: int) -> BatchMeasure:
        """Run one batch of `calls` calls, `FILES_PER_RUN` a run, one run after the other."""
        environment = self._set_up()
        created = CreatedRuns(**self._child(environment, "bench.batch", str(calls), str(RECORDING_BYTES)))
        database_cpu = self.database.cpu_s()
        runs = [RunMeasure(**self._child(environment, "bench.audit_run", run_id)) for run_id in created.run_ids]
        if not all(run.success for run in runs):
            raise RuntimeError(f"a run failed: what it said is in {self._log}")
        return BatchMeasure(calls, created, tuple(runs), self.database.cpu_s() - database_cpu)

    @property
    def _log(self) -> Path:
        return self.home / "runs.log"

    def _set_up(self) -> dict[str, str]:
        dagster_home = self.home / "dagster"
        dagster_home.mkdir(parents=True)
        config = self.database.dagster_config(dagster_home, bulk_events=self.bulk_events)
        (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "COFI_HOME": str(self.home),
            "COFI_DATABASE_URL": self.database.results_url(self.home),
            "GPU_MACHINES": ",".join(self.machines),
            "LLM_BACKEND": "mediator",
            "FILES_PER_RUN": str(FILES_PER_RUN),
            "DAGSTER_HOME": str(dagster_home),
            "DAGSTER_EVENT_BATCH_SIZE": DAGSTER_BATCH_SIZE,
        }

    def _child(self, environment: dict[str, str], module: str, *arguments: str) -> dict:
        with self._log.open("ab") as log:
            finished = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                # Not the repository: an `.env` of the machine that measures must not reach it.
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                check=False,
            )
        if finished.returncode != 0:
            raise RuntimeError(f"{module} ended with status {finished.returncode}:\n{self._log.read_text()[-4000:]}")
        return json.loads(finished.stdout.splitlines()[-1])
