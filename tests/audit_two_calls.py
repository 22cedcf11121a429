"""Runs the audit job over two calls and writes what is known of one stage afterwards, as JSON.

    python audit_two_calls.py STAGE RESULT.json

Run in a process of its own, with settings from the environment, by tests that change the package itself.
"""

import json
import sys
from datetime import date
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

import cofi_assets
from cofi_assets.audit import BATCH_TAG
from cofi_assets.definitions import AUDIT_JOB, build_definitions
from cofi_resources.database import forms, registry
from cofi_resources.database.engine import Database
from cofi_resources.forms import read_form
from cofi_resources.records import NewCall
from cofi_resources.settings import Settings

settings = Settings.load()
database = Database(settings.resolved_database_url)
database.upgrade()
database.transact(lambda connection: forms.seed(connection, read_form()))


def rows(statement: str, *values: str) -> list[tuple]:
    return database.read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement, values)])


files = []
for name in ("one.wav", "two.wav"):
    path = settings.resolved_client_volume / "accepted" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    files.append(NewCall(name, f"accepted/{name}", path.stat().st_size))
batch = database.transact(
    lambda connection: registry.register_batch(
        connection, source="drop", kind="upload", batch_date=date(2026, 1, 15), files=files, process_id=1
    )
)
keys = database.read(lambda connection: registry.partition_keys(connection, batch.id))
definitions = build_definitions(settings)
stage, result_file = sys.argv[1:]
asset = dg.AssetKey(stage)
with dg.DagsterInstance.ephemeral(tempdir=str(settings.resolved_home)) as instance:
    instance.add_dynamic_partitions("calls", keys)
    result = definitions.resolve_job_def(AUDIT_JOB).execute_in_process(
        instance=instance,
        tags={
            ASSET_PARTITION_RANGE_START_TAG: keys[0],
            ASSET_PARTITION_RANGE_END_TAG: keys[-1],
            BATCH_TAG: str(batch.id),
        },
    )
    seen = {
        "package": cofi_assets.__file__,
        "success": result.success,
        "keys": keys,
        "after": [key.to_user_string() for key in definitions.resolve_asset_graph().get(asset).parent_keys],
        "materialized": sorted(instance.get_materialized_partitions(asset)),
        "shown": [
            {name: value.value for name, value in record.asset_materialization.metadata.items()}
            for record in instance.fetch_materializations(asset, limit=10).records
        ],
        "rows": [
            [state, json.loads(metadata)]
            for state, metadata in rows("SELECT state, metadata FROM callStage WHERE stage = ? ORDER BY callId", stage)
        ],
        "batch": rows("SELECT status FROM batchStatus")[0][0],
        "log": rows("SELECT COUNT(*) FROM batchExecutionLog WHERE stage = ?", stage)[0][0],
    }
database.dispose()
Path(result_file).write_text(json.dumps(seen))
