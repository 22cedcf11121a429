"""What Dagster loads: it validates without any configuration, and holds what the settings ask for."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from cofi_assets.definitions import AUDIT_JOB, build_definitions
from cofi_resources.settings import Settings

REPOSITORY = Path(__file__).parents[2]
PIPELINE = ["distribution", "lid", "transcripts", "llm1_conversations", "audit_answers"]
BARE = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}
"""An environment without any setting."""


def settings(tmp_path: Path, **changes: object) -> Settings:
    return Settings.load(cofi_home=tmp_path, **changes)


def keys(*names: str) -> set[dg.AssetKey]:
    return {dg.AssetKey(name) for name in names}


@pytest.mark.slow
def test_the_workspace_at_the_top_validates_without_any_setting(tmp_path: Path) -> None:
    validated = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(REPOSITORY / "workspace.yaml")],
        env={**BARE, "DAGSTER_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr[-3000:]
    assert "Validation successful" in validated.stderr + validated.stdout


@pytest.mark.slow
def test_importing_the_definitions_reads_no_setting_and_opens_nothing(tmp_path: Path) -> None:
    watched = """
import sys

opened = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith((".py", ".pyc")):
        opened.append(arguments[0])
    elif event in ("socket.connect", "sqlite3.connect", "subprocess.Popen", "os.mkdir"):
        opened.append(f"{event} {arguments}")

import dagster, sqlalchemy, alembic.config, pydantic_settings, httpx, httpx_aiohttp, yaml
sys.addaudithook(watch)
import cofi_assets.definitions
print("\\n".join(one for one in opened if "site-packages" not in one and "/lib/python" not in one))
"""
    imported = subprocess.run(
        [sys.executable, "-c", watched],
        # A wrong setting: reading it would stop the import.
        env={**BARE, "GPU_MODE": "wrong", "FILES_PER_RUN": "wrong"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr[-3000:]
    assert imported.stdout.strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_stops_the_load_by_name(tmp_path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "from cofi_assets.definitions import defs; defs()"],
        env={**BARE, "FILES_PER_RUN": "wrong"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode != 0
    assert "FILES_PER_RUN" in loaded.stderr


def test_every_stage_is_an_asset_partitioned_by_call_in_the_order_of_the_pipeline(tmp_path: Path) -> None:
    graph = build_definitions(settings(tmp_path)).resolve_asset_graph()
    assert graph.get_all_asset_keys() == keys(*PIPELINE)
    parents = {name: graph.get(dg.AssetKey(name)).parent_keys for name in PIPELINE}
    assert parents == {
        "distribution": set(),
        "lid": keys("distribution"),
        "transcripts": keys("lid"),
        "llm1_conversations": keys("transcripts"),
        "audit_answers": keys("transcripts", "llm1_conversations"),
    }
    for name in PIPELINE:
        node = graph.get(dg.AssetKey(name))
        assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
        assert node.partitions_def.name == "calls"
        assert node.description


@pytest.mark.parametrize(
    ("switch", "left_out"), [("llm1_enabled", "llm1_conversations"), ("llm2_enabled", "audit_answers")]
)
def test_a_stage_that_is_switched_off_is_left_out(tmp_path: Path, switch: str, left_out: str) -> None:
    definitions = build_definitions(settings(tmp_path, **{switch: False}))
    graph = definitions.resolve_asset_graph()
    assert graph.get_all_asset_keys() == keys(*PIPELINE) - keys(left_out)
    assert all(dg.AssetKey(left_out) not in graph.get(key).parent_keys for key in graph.get_all_asset_keys())
    assert definitions.resolve_job_def(AUDIT_JOB)


def test_a_backfill_is_cut_into_runs_of_files_per_run(tmp_path: Path) -> None:
    graph = build_definitions(settings(tmp_path, files_per_run=250)).resolve_asset_graph()
    policies = {graph.get(dg.AssetKey(name)).backfill_policy for name in PIPELINE}
    assert policies == {dg.BackfillPolicy.multi_run(max_partitions_per_run=250)}


def test_the_uploads_sensor_starts_the_audit_by_itself(tmp_path: Path) -> None:
    sensor = build_definitions(settings(tmp_path)).resolve_sensor_def("uploads")
    assert sensor.job_name == AUDIT_JOB
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
