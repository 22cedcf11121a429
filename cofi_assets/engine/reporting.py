"""Telling Dagster what was computed, in batches, while the run goes on.

What belongs here: the one place that builds Dagster events by hand. What does not: when to report (`writer.py`).
Decision: events are handed to the instance with `DagsterEventBatchMetadata` and not through `context.log_event`,
which stores them one at a time and keeps every one in memory (architecture 3.6). This uses `report_dagster_event`,
which is not part of Dagster's public interface; hence the upper bound on Dagster's version in pyproject.toml.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.events import (
    AssetObservationData,
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
    StepMaterializationData,
    generate_event_batch_id,
)

from cofi_resources.records import Call, StageOutcome, StageState

REPORTED = (StageState.DONE, StageState.SKIPPED)


def metadata_of(outcome: StageOutcome) -> dict[str, str | int | float]:
    """What a partition shows: file, outcome, then what the stage had to say; nothing that is unknown."""
    shown: dict[str, str | int | float | None] = {
        "file": outcome.call.file,
        "call_id": outcome.call.id,
        "outcome": outcome.state.value if not outcome.reason else f"{outcome.state.value}: {outcome.reason}",
        **outcome.metadata,
        "machine": outcome.machine,
        "stage_time_s": round(outcome.duration_s, 3),
    }
    return {name: value for name, value in shown.items() if value is not None}


class PartitionReporter:
    """Reports finished (call, stage) pairs of one step as materializations of their partitions."""

    def __init__(self, instance: dg.DagsterInstance, *, run_id: str, job_name: str, step_key: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._job_name = job_name
        self._step_key = step_key

    def report(self, outcomes: Sequence[StageOutcome]) -> None:
        """Materializations of what is done or skipped. A failed pair has none, and so its partition fails with the run;
        an observation on it holds the reason.
        """
        self._store([self._event_of(outcome) for outcome in outcomes])

    def report_decided(self, pairs: Sequence[tuple[Call, str]]) -> None:
        """Pairs that an earlier run of the same root decided.

        The run's planned events cover its whole range, so what is not reported again would count as failed with it;
        and what was committed just before a crash was never reported at all.
        """
        self._store(
            [
                _materialization(
                    dg.AssetMaterialization(
                        asset_key=stage,
                        partition=call.key,
                        metadata={"file": call.file, "call_id": call.id, "outcome": "decided by an earlier attempt"},
                    )
                )
                for call, stage in pairs
            ]
        )

    def _event_of(self, outcome: StageOutcome) -> "_Event":
        fields = {"asset_key": outcome.stage, "partition": outcome.call.key, "metadata": metadata_of(outcome)}
        if outcome.state in REPORTED:
            return _materialization(dg.AssetMaterialization(**fields))
        return _Event(DagsterEventType.ASSET_OBSERVATION, AssetObservationData(dg.AssetObservation(**fields)))

    def _store(self, events: Sequence["_Event"]) -> None:
        batch_id = generate_event_batch_id()
        last = len(events) - 1
        for position, event in enumerate(events):
            self._instance.report_dagster_event(
                DagsterEvent(
                    event_type_value=event.kind.value,
                    job_name=self._job_name,
                    step_key=self._step_key,
                    event_specific_data=event.content,
                ),
                run_id=self._run_id,
                batch_metadata=DagsterEventBatchMetadata(batch_id, position == last),
            )


@dataclass(frozen=True, slots=True)
class _Event:
    kind: DagsterEventType
    content: StepMaterializationData | AssetObservationData


def _materialization(materialization: dg.AssetMaterialization) -> _Event:
    return _Event(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(materialization))
