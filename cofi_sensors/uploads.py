"""The sensor on CLIENT_VOLUME/uploads: what was dropped and has settled becomes a batch, and its runs are requested.

What belongs here: the tick. What does not: taking files (`cofi_assets/intake.py`), making batches known to Dagster
(`announce.py`). A tick can be repeated without harm: what it did is in the database.
"""

import threading
from datetime import datetime

import dagster as dg

from cofi_assets.intake import take_drops
from cofi_resources.database.engine import Database
from cofi_resources.settings import Settings
from cofi_resources.volume import Volume
from cofi_sensors.announce import announce

TICK = threading.Lock()
"""Held by the tick that is taking files: one that Dagster gave up on goes on beside the next one."""


def build_uploads_sensor(job_name: str, settings: Settings) -> dg.SensorDefinition:
    """The uploads sensor, which starts the job of that name for each batch."""

    @dg.sensor(
        name="uploads",
        job_name=job_name,
        minimum_interval_seconds=settings.upload_tick_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes recordings dropped into CLIENT_VOLUME/uploads/ and starts their audit.",
    )
    def uploads(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], volume: dg.ResourceParam[Volume]
    ):
        if not TICK.acquire(blocking=False):
            return dg.SkipReason("the tick before is still taking files")
        try:
            batches = take_drops(
                volume,
                database,
                settle_s=settings.upload_settle_s,
                abandoned_s=settings.upload_abandoned_s,
                budget_s=settings.upload_tick_budget_s,
                process_id=settings.audit_process_id,
                today=lambda: datetime.now(settings.time_zone).date(),
            )
            requests = list(announce(context.instance, database, settings.files_per_run))
        finally:
            TICK.release()
        if not requests:
            taken = ", ".join(batch.key for batch in batches)
            return dg.SkipReason(f"registered {taken}" if taken else "nothing new has settled in uploads/")
        return dg.SensorResult(run_requests=requests)

    return uploads
