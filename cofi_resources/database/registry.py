"""Batches and their calls: registered once, looked up by key, claimed by a run.

What belongs here: what is known of a file before any stage touched it, and who works on it. What does not: results.
"""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection, Row, bindparam, func, insert, null, or_, select, update
from sqlalchemy.exc import IntegrityError

from cofi_resources.call_keys import batch_key, call_key
from cofi_resources.database.bulk import chunks, insert_rows
from cofi_resources.database.tables import (
    FILE_NAME_LENGTH,
    batch_status,
    call,
    call_stage,
    process,
    registered_call,
    utc_now,
)
from cofi_resources.errors import ClaimLost, ConfigError, DatabaseUnavailable, InvalidInput
from cofi_resources.records import Batch, Call, NewCall, StageState

_ATTEMPTS_AT_A_NUMBER = 50
_SOURCE_LENGTH = 255
_PATH_LENGTH = 4096

_BATCH_COLUMNS = (
    batch_status.c.id,
    batch_status.c.batchDate,
    batch_status.c.batchNumber,
    batch_status.c.totalFiles,
    batch_status.c.source,
)

# Index: uq_batchStatus_source.
_BATCH_BY_SOURCE = select(*_BATCH_COLUMNS).where(batch_status.c.source == bindparam("source"))

# Index: uq_batchStatus_source.
_KNOWN_SOURCES = select(batch_status.c.source).where(batch_status.c.source.in_(bindparam("sources", expanding=True)))

# Index: the primary key, of which the first row is enough.
_ANY_BATCH = select(batch_status.c.id).order_by(batch_status.c.id.desc()).limit(1)

# Index: the primary key.
_BATCH_BY_ID = select(*_BATCH_COLUMNS).where(batch_status.c.id == bindparam("batch_id"))

# Index: uq_batchStatus_batchDate_batchNumber.
_LAST_NUMBER = select(func.max(batch_status.c.batchNumber)).where(batch_status.c.batchDate == bindparam("day"))

# Index: the primary key.
_PROCESS = select(process.c.id).where(process.c.id == bindparam("process_id"))

# Index: ix_batchStatus_announcedAt.
_UNANNOUNCED = select(*_BATCH_COLUMNS).where(batch_status.c.announcedAt.is_(None)).order_by(batch_status.c.id)

# Index: the primary key.
_MARK_ANNOUNCED = (
    update(batch_status)
    .where(batch_status.c.id == bindparam("batch_id"), batch_status.c.announcedAt.is_(None))
    .values(announcedAt=bindparam("now"))
)

# Index: uq_registeredCall_batchId_ordinal.
_PARTITION_KEYS = (
    select(registered_call.c.partitionKey)
    .where(registered_call.c.batchId == bindparam("batch_id"))
    .order_by(registered_call.c.ordinal)
)

# Indexes: uq_registeredCall_partitionKey, then the primary key of call.
_CALLS_BY_KEY = (
    select(
        registered_call.c.id,
        registered_call.c.batchId,
        registered_call.c.ordinal,
        registered_call.c.partitionKey,
        registered_call.c.file,
        registered_call.c.path,
        registered_call.c.sizeBytes,
        registered_call.c.sha256,
        registered_call.c.processId,
        call.c.lang,
        call.c.audioDuration,
        call.c.status,
    )
    .select_from(registered_call.outerjoin(call, call.c.id == registered_call.c.id))
    .where(registered_call.c.partitionKey.in_(bindparam("keys", expanding=True)))
)

# Index: the primary key (callId, stage).
_STATES = select(
    call_stage.c.callId,
    call_stage.c.stage,
    call_stage.c.state,
    call_stage.c.machine,
    call_stage.c.rootRunId,
    call_stage.c.finishedAt,
).where(call_stage.c.callId.in_(bindparam("ids", expanding=True)))

# Index: the primary key. A run may claim what it holds already.
_CLAIM = (
    update(registered_call)
    .where(
        registered_call.c.id.in_(bindparam("ids", expanding=True)),
        or_(registered_call.c.claimedBy.is_(None), registered_call.c.claimedBy == bindparam("run_id")),
    )
    .values(claimedBy=bindparam("run_id"), claimedAt=bindparam("now"))
)

# Index: the primary key.
_HELD_BY_OTHERS = select(registered_call.c.id, registered_call.c.claimedBy).where(
    registered_call.c.id.in_(bindparam("ids", expanding=True)),
    registered_call.c.claimedBy != bindparam("run_id"),
)

# Index: the primary key. Locks the rows until the transaction ends: nobody takes a call over in the middle of a write.
_HOLD = (
    update(registered_call)
    .where(
        registered_call.c.id.in_(bindparam("ids", expanding=True)), registered_call.c.claimedBy == bindparam("run_id")
    )
    .values(claimedAt=bindparam("now"))
)

# Index: ix_registeredCall_claimedBy.
_RELEASE = (
    update(registered_call)
    .where(registered_call.c.claimedBy == bindparam("run_id"))
    .values(claimedBy=null(), claimedAt=null())
)


def register_batch(
    conn: Connection,
    *,
    source: str,
    kind: str,
    batch_date: date,
    files: Sequence[NewCall],
    process_id: int,
    category_mapping_id: int = 1,
    number: int | None = None,
    task_id: str | None = None,
) -> Batch:
    """Registers the files that arrived together, with ordinals from 1 in the given order.

    A `source` registered before gives the batch it became, unchanged. `number` defaults to the next free one of the
    date. Raises InvalidInput for names that are too long, no text, or the same twice, and for a number in use;
    ConfigError if there is no such process.
    """
    _check_files(source, files)
    batch = batch_by_source(conn, source)
    if batch is not None:
        return batch
    if conn.execute(_PROCESS, {"process_id": process_id}).first() is None:
        raise ConfigError(
            f"there is no process {process_id} to register calls for: run `cofi db seed`, or set AUDIT_PROCESS_ID"
        )
    batch, is_new = _insert_batch(conn, source, kind, batch_date, len(files), number)
    if not is_new:
        return batch
    now = utc_now()
    key = batch_key(batch.date, batch.number)
    insert_rows(
        conn,
        registered_call,
        [
            {
                "batchId": batch.id,
                "ordinal": ordinal,
                "partitionKey": call_key(key, ordinal, new.file),
                "file": new.file,
                "path": new.path,
                "sizeBytes": new.size_bytes,
                "taskId": task_id,
                "processId": process_id,
                "categoryMappingId": category_mapping_id,
                "createdAt": now,
            }
            for ordinal, new in enumerate(files, start=1)
        ],
    )
    return batch


def batch_by_source(conn: Connection, source: str) -> Batch | None:
    """The batch made from this landing directory or task, if it was registered."""
    row = conn.execute(_BATCH_BY_SOURCE, {"source": source}).one_or_none()
    return None if row is None else _batch(row)


def batch_by_id(conn: Connection, batch_id: int) -> Batch | None:
    row = conn.execute(_BATCH_BY_ID, {"batch_id": batch_id}).one_or_none()
    return None if row is None else _batch(row)


def registered_sources(conn: Connection, sources: Sequence[str]) -> set[str]:
    """Those of the sources that were registered before."""
    known: set[str] = set()
    for some in chunks(sorted(set(sources))):
        known.update(conn.execute(_KNOWN_SOURCES, {"sources": some}).scalars())
    return known


def has_batches(conn: Connection) -> bool:
    """Whether anything was ever registered."""
    return conn.execute(_ANY_BATCH).first() is not None


def unannounced_batches(conn: Connection) -> list[Batch]:
    """Batches whose partitions are not known to be in Dagster yet, oldest first."""
    return [_batch(row) for row in conn.execute(_UNANNOUNCED)]


def mark_announced(conn: Connection, batch_id: int) -> None:
    """Notes that the batch's partitions are in Dagster. The first time stays."""
    conn.execute(_MARK_ANNOUNCED, {"batch_id": batch_id, "now": utc_now()})


def partition_keys(conn: Connection, batch_id: int) -> list[str]:
    """The keys of a batch's calls, in order of their ordinals."""
    return list(conn.execute(_PARTITION_KEYS, {"batch_id": batch_id}).scalars())


def calls_by_key(conn: Connection, keys: Sequence[str]) -> list[Call]:
    """The calls with these partition keys, by batch and ordinal. Keys that name no registered call are absent."""
    rows: list[Row] = []
    for some in chunks(sorted(set(keys))):
        rows.extend(conn.execute(_CALLS_BY_KEY, {"keys": some}))
    rows.sort(key=lambda row: (row.batchId, row.ordinal))
    stages: dict[int, list[Row]] = {row.id: [] for row in rows}
    for some in chunks(sorted(stages)):
        for state in conn.execute(_STATES, {"ids": some}):
            stages[state.callId].append(state)
    return [_call(row, stages[row.id]) for row in rows]


def claim(conn: Connection, call_ids: Sequence[int], run_id: str) -> dict[int, str]:
    """Claims for a run the calls that are free or its own. Returns call id -> holder for those of other runs."""
    held: dict[int, str] = {}
    now = utc_now()
    for ids in chunks(sorted(set(call_ids))):
        conn.execute(_CLAIM, {"ids": ids, "run_id": run_id, "now": now})
        held.update(conn.execute(_HELD_BY_OTHERS, {"ids": ids, "run_id": run_id}).all())
    return held


def hold_claims(conn: Connection, call_ids: Sequence[int], run_id: str) -> None:
    """Makes sure, to the end of the transaction, that the run still has these calls. Raises ClaimLost if not.

    A run that was taken for dead and lives on is kept from writing over the one that took its place.
    """
    now = utc_now()
    for ids in chunks(sorted(set(call_ids))):
        if conn.execute(_HOLD, {"ids": ids, "run_id": run_id, "now": now}).rowcount != len(ids):
            raise ClaimLost(f"run {run_id} has lost its claim on some of its calls: another run took them over")


def release(conn: Connection, run_id: str) -> None:
    """Gives back every call the run has claimed."""
    conn.execute(_RELEASE, {"run_id": run_id})


def _check_files(source: str, files: Sequence[NewCall]) -> None:
    if len(source) > _SOURCE_LENGTH:
        raise InvalidInput(f"source: {source[:40]!r}... has more than {_SOURCE_LENGTH} characters")
    seen: dict[str, str] = {}
    for new in files:
        for text, longest in ((new.file, FILE_NAME_LENGTH), (new.path, _PATH_LENGTH)):
            if not text or len(text) > longest:
                raise InvalidInput(f"file: {text[:40]!r}... must have 1 to {longest} characters")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidInput(f"file: the name {text!r} is not UTF-8; rename it") from None
        # MariaDB's binary collation ignores blanks at the end of a text.
        name = new.file.rstrip(" ")
        if name in seen:
            raise InvalidInput(f"file: {new.file!r} and {seen[name]!r} are the same name within one batch")
        seen[name] = new.file


def _insert_batch(
    conn: Connection, source: str, kind: str, day: date, total_files: int, number: int | None
) -> tuple[Batch, bool]:
    for _ in range(_ATTEMPTS_AT_A_NUMBER):
        free = number or (conn.execute(_LAST_NUMBER, {"day": day}).scalar() or 0) + 1
        now = utc_now()
        try:
            with conn.begin_nested():
                result = conn.execute(
                    insert(batch_status).values(
                        batchDate=day,
                        batchNumber=free,
                        source=source,
                        kind=kind,
                        totalFiles=total_files,
                        createdAt=now,
                        updatedAt=now,
                    )
                )
                assert result.inserted_primary_key is not None
                return Batch(result.inserted_primary_key[0], day, free, total_files, source), True
        except IntegrityError:
            # Another process took the number, or registered this very source.
            batch = batch_by_source(conn, source)
            if batch is not None:
                return batch, False
            if number is not None:
                raise InvalidInput(f"number: batch {batch_key(day, number)} exists already") from None
    raise DatabaseUnavailable(f"no batch number of {day} stayed free for {_ATTEMPTS_AT_A_NUMBER} attempts")


def _batch(row: Row) -> Batch:
    return Batch(id=row.id, date=row.batchDate, number=row.batchNumber, total_files=row.totalFiles, source=row.source)


def _call(row: Row, stages: Sequence[Row]) -> Call:
    decided = (StageState.DONE, StageState.SKIPPED)
    states = {stage.stage: StageState(stage.state) for stage in stages}
    with_machine = [stage for stage in stages if stage.machine]
    # A stage that is pending again keeps its machine, without a time.
    with_machine.sort(key=lambda stage: (stage.finishedAt is not None, stage.finishedAt))
    return Call(
        id=row.id,
        batch_id=row.batchId,
        key=row.partitionKey,
        file=row.file,
        path=row.path,
        size_bytes=row.sizeBytes,
        language=row.lang or "unknown",
        duration_s=row.audioDuration or 0.0,
        status=row.status,
        machine=with_machine[-1].machine if with_machine else None,
        sha256=row.sha256,
        process_id=row.processId,
        states=states,
        done_by={stage.stage: stage.rootRunId for stage in stages if states[stage.stage] in decided},
    )
