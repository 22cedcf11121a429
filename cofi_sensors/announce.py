"""Making registered batches known to Dagster: partition keys, then run requests.

What belongs here: which keys are added and which runs are asked for. What does not: the tick itself (`uploads.py`).
Decision: a batch counts as announced only when its runs are seen in Dagster's storage, not when they were requested: a
daemon that dies between the two asks again at the next tick, and run keys keep that from starting anything twice.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PRIORITY_TAG,
    RUN_KEY_TAG,
)

from cofi_assets.audit import BATCH_TAG
from cofi_assets.partitions import BATCHES, CALLS, key_ranges
from cofi_resources.database import registry
from cofi_resources.database.engine import Database
from cofi_resources.records import Batch

UPLOAD_PRIORITY = 10
"""Uploads and re-audits go before the runs of day batches, which have 0 (architecture 3.9)."""


def run_requests(batch: Batch, keys: Sequence[str], files_per_run: int) -> list[dg.RunRequest]:
    """The runs of a batch's first pass: one for each `files_per_run` calls, each with a key of its own."""
    return [
        dg.RunRequest(
            run_key=f"batch-{batch.id}-from-{key_range.start}",
            tags={
                ASSET_PARTITION_RANGE_START_TAG: key_range.start,
                ASSET_PARTITION_RANGE_END_TAG: key_range.end,
                BATCH_TAG: str(batch.id),
                "cofi/batch_key": batch.key,
                PRIORITY_TAG: str(UPLOAD_PRIORITY),
            },
        )
        for key_range in key_ranges(keys, files_per_run)
    ]


def announce(instance: dg.DagsterInstance, database: Database, files_per_run: int) -> Iterator[dg.RunRequest]:
    """Add the keys of every batch that Dagster does not know yet, in order, and ask for its runs."""
    for batch in database.read(registry.unannounced_batches):
        keys = database.read(lambda connection, batch=batch: registry.partition_keys(connection, batch.id))
        requests = run_requests(batch, keys, files_per_run)
        # Run keys are compared, not counted: retries carry the batch's tag too. A run that was made and never submitted
        # does not count: asked for again by its key, Dagster submits that very run.
        started = {
            run.tags.get(RUN_KEY_TAG)
            for run in instance.get_runs(dg.RunsFilter(tags={BATCH_TAG: str(batch.id)}))
            if run.status is not dg.DagsterRunStatus.NOT_STARTED
        }
        if started >= {request.run_key for request in requests}:
            database.transact(lambda connection, batch=batch: registry.mark_announced(connection, batch.id))
            continue
        add_keys(instance, BATCHES, [batch.key])
        add_keys(instance, CALLS, keys)
        yield from requests


def add_keys(instance: dg.DagsterInstance, partitions: dg.DynamicPartitionsDefinition, keys: Sequence[str]) -> None:
    """Add keys through the instance: a tick's result could not hold thousands of them (architecture 3.8)."""
    if partitions.name is None:
        raise ValueError("only named dynamic partitions can be added to")
    instance.add_dynamic_partitions(partitions.name, list(keys))
