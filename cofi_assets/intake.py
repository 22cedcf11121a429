"""From a drop to a registered batch: what was put into uploads/ becomes rows that say what is wanted.

What belongs here: the order of taking, sorting out and registering, so that a crash at any point loses nothing. What
does not: files (`cofi_resources/volume.py`), statements (`cofi_resources/database`), Dagster (`cofi_sensors`).
"""

import time
from collections.abc import Callable, Sequence
from datetime import date

from cofi_resources.database import logs, registry
from cofi_resources.database.engine import Connection, Database
from cofi_resources.errors import PermanentError
from cofi_resources.records import Batch
from cofi_resources.volume import STUCK, Landing, Refusal, Volume

NO_BATCH = 0
"""`batchExecutionLog.batchId` for a drop of which nothing could be taken."""


def take_drops(
    volume: Volume,
    database: Database,
    *,
    settle_s: float,
    abandoned_s: float,
    budget_s: float,
    process_id: int,
    today: Callable[[], date],
    clock: Callable[[], float] = time.monotonic,
) -> list[Batch]:
    """Take what has settled in uploads/ and register it, each folder as a batch, all single files as one.

    Also registers what an earlier look had taken and not registered. After `budget_s` seconds what is left waits for
    the next look; one drop is registered in any case. Returns the new batches. Raises ConfigError if there is no
    process of that id.
    """
    began = clock()
    volume.create()
    volume.finish_gatherings()
    stuck = volume.take(volume.settled_drops(settle_s, abandoned_s)).stuck
    if stuck:
        _log(database, [_refused(refusal, NO_BATCH, f"see rejected/{STUCK}/") for refusal in stuck])
    tokens = volume.accepted_tokens()
    registered = database.read(lambda connection: registry.registered_sources(connection, tokens))
    batches = []
    is_one_done = False
    for token in tokens:
        if token in registered:
            continue
        if is_one_done and clock() - began >= budget_s:
            break
        try:
            batch = _register(volume, database, token, process_id, today())
        except (OSError, PermanentError) as error:
            # One drop that cannot be looked through must not hold up the others; it is tried again at the next look.
            fault = volume.note_fault(token, error)
            if fault is not None:
                _log(database, [_refused(fault, NO_BATCH, f"it lies in accepted/{token}/")])
            continue
        is_one_done = True
        if batch is not None:
            batches.append(batch)
    return batches


def _log(database: Database, events: Sequence[logs.ExecutionEvent]) -> None:
    database.transact(lambda connection: logs.log_events(connection, events))


def _register(volume: Volume, database: Database, token: str, process_id: int, batch_date: date) -> Batch | None:
    landing = volume.sort_out(token)

    def write(connection: Connection) -> Batch | None:
        batch = None
        if landing.files:
            batch = registry.register_batch(
                connection,
                source=token,
                kind="upload",
                batch_date=batch_date,
                files=landing.files,
                process_id=process_id,
            )
        logs.log_events(connection, _events(landing, NO_BATCH if batch is None else batch.id))
        return batch

    batch = database.transact(write)
    if batch is None:
        volume.discard_empty(token)
    return batch


def _events(landing: Landing, batch_id: int) -> list[logs.ExecutionEvent]:
    place = f"it lies in rejected/{landing.token}/"
    taken = logs.ExecutionEvent(
        batch_id=batch_id,
        stage="intake",
        event_type="info",
        status="success" if landing.files else "failed",
        total_files=len(landing.files) + len(landing.refused),
        processed_files=len(landing.files),
    )
    return [*(_refused(refusal, batch_id, place) for refusal in landing.refused), taken]


def _refused(refusal: Refusal, batch_id: int, place: str) -> logs.ExecutionEvent:
    return logs.ExecutionEvent(
        batch_id=batch_id,
        stage="intake",
        event_type="error",
        status="failed",
        file_name=refusal.name,
        error_message=f"{refusal.name} {refusal.reason}; {place}",
    )
