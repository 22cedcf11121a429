"""The only composition root: what Dagster loads.

What belongs here: putting stages, resources, jobs and sensors together. What does not: any of their work.
Importing this module reads no setting and opens nothing; `defs` is evaluated when Dagster loads the code location.
"""

import dagster as dg

from cofi_assets.audit import build_audit_assets
from cofi_assets.stages import enabled_stages
from cofi_resources.database.engine import Database
from cofi_resources.llm.resource import LlmResource
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.settings import Settings
from cofi_resources.volume import Volume
from cofi_sensors.uploads import build_uploads_sensor

AUDIT_JOB = "audit"


def build_resources(settings: Settings) -> dict[str, object]:
    """What touches the outside world, by the names that assets and sensors ask for."""
    return {
        "database": Database(settings.resolved_database_url),
        "volume": Volume(settings.resolved_client_volume, max_file_bytes=settings.max_file_bytes),
        "mediators": MediatorPoolResource.of(settings),
        "llm": LlmResource.of(settings),
    }


def build_definitions(settings: Settings, resources: dict[str, object] | None = None) -> dg.Definitions:
    """Everything of this installation; `resources` replaces single ones, as tests do."""
    stages = enabled_stages(settings)
    audit_job = dg.define_asset_job(
        AUDIT_JOB,
        selection=dg.AssetSelection.assets(*(stage.name for stage in stages)),
        description="All stages of the selected calls, from distribution to audit answers.",
    )
    return dg.Definitions(
        assets=[build_audit_assets(stages, settings)],
        jobs=[audit_job],
        sensors=[build_uploads_sensor(AUDIT_JOB, settings)],
        resources={**build_resources(settings), **(resources or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(Settings.load())
