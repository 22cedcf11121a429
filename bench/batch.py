"""A batch to measure with: registered and announced, its runs created, in a process of its own.

    python -m bench.batch CALLS RECORDING_BYTES

What belongs here: what intake, sensor and daemon do in production before a run's process starts, by the same
functions. What does not: executing a run (`audit_run.py`). The installation comes from the environment, as there.
Prints one JSON object: the runs' ids, how many events creating them stored, and the wall and CPU seconds it took.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import dagster as dg

from cofi_assets.definitions import AUDIT_JOB, build_definitions
from cofi_assets.partitions import BATCHES, CALLS
from cofi_assets.stages import enabled_stages
from cofi_resources.database import registry
from cofi_resources.database.engine import Database
from cofi_resources.database.forms import seed
from cofi_resources.forms import read_form
from cofi_resources.records import Batch, NewCall
from cofi_resources.settings import Settings
from cofi_resources.volume import Volume
from cofi_sensors.announce import add_keys, run_requests

SOURCE = "bench"


@dataclass(frozen=True, slots=True)
class CreatedRuns:
    """`planned_events` is what Dagster stores of a run before it starts: one for each call and stage."""

    run_ids: list[str]
    planned_events: int
    wall_s: float
    cpu_s: float


def register_calls(settings: Settings, database: Database, calls: int, recording_bytes: int) -> tuple[Batch, list[str]]:
    """A registered batch of `calls` recordings of noise; returns it with its partition keys."""
    volume = Volume(settings.resolved_client_volume)
    volume.create()
    folder = settings.resolved_client_volume / "accepted" / SOURCE
    folder.mkdir(parents=True)
    files = []
    for number in range(1, calls + 1):
        path = folder / f"call_{number:06}.wav"
        # Every file is another one: the same content in a task would be one call.
        path.write_bytes(f"{number:06}".encode().ljust(recording_bytes, b"\0"))
        files.append(NewCall(path.name, f"accepted/{SOURCE}/{path.name}", recording_bytes))
    batch = database.transact(
        lambda connection: registry.register_batch(
            connection,
            source=SOURCE,
            kind="upload",
            batch_date=datetime.now(UTC).date(),
            files=files,
            process_id=settings.audit_process_id,
        )
    )
    return batch, database.read(lambda connection: registry.partition_keys(connection, batch.id))


def create_runs(calls: int, recording_bytes: int) -> CreatedRuns:
    """Bring an installation into being, with one batch of which no run has started."""
    settings = Settings.load()
    database = Database(settings.resolved_database_url)
    database.upgrade()
    form = read_form()
    database.transact(lambda connection: seed(connection, form))
    batch, keys = register_calls(settings, database, calls, recording_bytes)
    job = build_definitions(settings).resolve_job_def(AUDIT_JOB)
    with dg.DagsterInstance.get() as instance:
        wall, cpu = time.perf_counter(), time.process_time()
        add_keys(instance, BATCHES, [batch.key])
        add_keys(instance, CALLS, keys)
        run_ids = [
            instance.create_run_for_job(job, tags={**job.run_tags, **request.tags}).run_id
            for request in run_requests(batch, keys, settings.files_per_run)
        ]
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    database.dispose()
    return CreatedRuns(run_ids, calls * len(enabled_stages(settings)), wall_s, cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser(description="Register a batch and create its runs.")
    parser.add_argument("calls", type=int)
    parser.add_argument("recording_bytes", type=int)
    chosen = parser.parse_args()
    print(json.dumps(asdict(create_runs(chosen.calls, chosen.recording_bytes))))


if __name__ == "__main__":
    main()
