"""The dynamic partitions that name batches and calls in Dagster.

What belongs here: the partitions definitions and how a run's keys are turned into calls' keys. What does not: the
form of a key (`cofi_resources/call_keys.py`), adding or retiring keys (`cofi_sensors`).
Decision: one dynamic dimension, not a product of batches and files (architecture 3.1): the product has a cell for
every pair, this has one for every call.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

CALLS = dg.DynamicPartitionsDefinition(name="calls")
BATCHES = dg.DynamicPartitionsDefinition(name="batches")


def key_ranges(keys: Sequence[str], size: int) -> Iterator[dg.PartitionKeyRange]:
    """Cut a batch's keys, in order, into ranges of at most `size`, one for each run."""
    for start in range(0, len(keys), size):
        chunk = keys[start : start + size]
        yield dg.PartitionKeyRange(chunk[0], chunk[-1])
