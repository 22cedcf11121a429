"""An installation for tests of the engine: real database, real Dagster instance, stub machines over real HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARENT_RUN_ID_TAG,
    ROOT_RUN_ID_TAG,
)
from machines import running_stub

from bench.stub_mediator import StubMachine
from cofi_assets.audit import BATCH_TAG
from cofi_assets.definitions import AUDIT_JOB, build_definitions
from cofi_resources.database import forms, registry
from cofi_resources.database.engine import Database
from cofi_resources.records import AuditForm, Batch, Call, NewCall, Question
from cofi_resources.settings import Settings

DAY = date(2026, 1, 15)
FORM = AuditForm(
    0,
    "Order desk",
    "v1",
    (
        Question(0, "greeting", "Greeting", "Greeted?", ("YES", "NO"), section="Opening", weight=2, scores={"YES": 1}),
        Question(0, "order", "Order", "An order?", ("YES", "NO", "NA"), section="Order", weight=3, scores={"YES": 1}),
    ),
)


@dataclass
class Installation:
    """One installation; `run` executes the audit job as Dagster would, in this process."""

    settings: Settings
    database: Database
    instance: dg.DagsterInstance
    stub: StubMachine

    def register(self, count: int, source: str = "drop") -> tuple[Batch, list[str]]:
        """A registered batch of `count` small files, its keys known to Dagster."""
        volume = self.settings.resolved_client_volume
        files = []
        for number in range(1, count + 1):
            relative = f"accepted/{source}/call {number}.wav"
            path = volume / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"RIFF {source} {number}".encode())
            files.append(NewCall(path.name, relative, path.stat().st_size))
        batch = self.database.transact(
            lambda connection: registry.register_batch(
                connection, source=source, kind="upload", batch_date=DAY, files=files, process_id=1
            )
        )
        keys = self.database.read(lambda connection: registry.partition_keys(connection, batch.id))
        self.instance.add_dynamic_partitions("calls", keys)
        return batch, keys

    def run(
        self,
        keys: Sequence[str],
        *,
        batch: Batch | None = None,
        stages: Sequence[str] | None = None,
        after: dg.ExecuteInProcessResult | None = None,
    ) -> dg.ExecuteInProcessResult:
        """A run over the range from the first to the last key; `after` makes it a re-execution of that run."""
        tags = {ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]}
        if batch is not None:
            tags[BATCH_TAG] = str(batch.id)
        if after is not None:
            tags |= {PARENT_RUN_ID_TAG: after.run_id, ROOT_RUN_ID_TAG: after.run_id}
        job = build_definitions(self.settings, {"database": self.database}).resolve_job_def(AUDIT_JOB)
        return job.execute_in_process(
            instance=self.instance,
            tags=tags,
            asset_selection=[dg.AssetKey(name) for name in stages] if stages else None,
            raise_on_error=False,
        )

    def calls(self, keys: Sequence[str]) -> list[Call]:
        return self.database.read(lambda connection: registry.calls_by_key(connection, keys))

    def rows(self, statement: str) -> list[tuple]:
        return self.database.read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)])

    def materialized(self, asset: str) -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(asset)))


@pytest.fixture
def installation(database: Database, tmp_path: Path) -> Iterator[Installation]:
    database.transact(lambda connection: forms.seed(connection, FORM))
    with running_stub() as stub, dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
        settings = Settings.load(cofi_home=tmp_path / "home", gpu_machines=stub.url, llm_backend="mediator")
        yield Installation(settings, database, instance, stub)
