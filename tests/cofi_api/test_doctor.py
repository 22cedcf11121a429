"""`cofi doctor` finds every fault of an installation and says what to do about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import running_stub
from services import free_port

from bench.stub_mediator import StubMachine
from cofi_api.doctor import Finding, Level, examine
from cofi_resources.database import forms
from cofi_resources.database.engine import Database
from cofi_resources.forms import read_form
from cofi_resources.settings import Settings

SECRET = "open-sesame"


@pytest.fixture(scope="module")
def stub() -> Iterator[StubMachine]:
    with running_stub() as machine:
        yield machine


@pytest.fixture
def sound(tmp_path: Path, stub: StubMachine, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Settings by name of an installation that lacks nothing but Dagster's daemon."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    database = Database(f"sqlite:///{tmp_path / 'cofi.db'}")
    database.upgrade()
    database.transact(lambda connection: forms.seed(connection, read_form()))
    database.dispose()
    return {"cofi_home": tmp_path, "gpu_machines": stub.url, "llm_backend": "rules"}


async def findings_of(values: dict[str, object], **changes: object) -> dict[str, Finding]:
    return {finding.subject: finding for finding in await examine(Settings.load(**{**values, **changes}))}


def assert_fault(finding: Finding, seen: str, remedy: str) -> None:
    assert finding.level is Level.FAULT
    assert seen in finding.seen
    assert remedy in finding.remedy
    assert SECRET not in finding.seen + finding.remedy


async def test_a_sound_installation_has_no_fault_but_the_daemon_that_does_not_run(sound, stub: StubMachine) -> None:
    findings = await findings_of(sound)
    assert list(findings) == [
        "settings", "database", "audit form", "volume", stub.url, "language model", "Dagster",
    ]  # fmt: skip
    assert [name for name, finding in findings.items() if finding.is_fault] == ["Dagster"]
    assert_fault(findings["Dagster"], "no heartbeat of ", "start dagster-daemon")


async def test_an_unreachable_database(sound) -> None:
    url = f"mysql+pymysql://cofi:{SECRET}@127.0.0.1:{free_port()}/cofi"
    findings = await findings_of(sound, cofi_database_url=url)
    assert_fault(findings["database"], "127.0.0.1", "COFI_DATABASE_URL")


async def test_a_database_url_that_cannot_be_used(sound) -> None:
    findings = await findings_of(sound, cofi_database_url=f"postgresql://cofi:{SECRET}@db/cofi")
    assert_fault(findings["database"], "COFI_DATABASE_URL", "COFI_DATABASE_URL")


async def test_missing_tables_are_said_once(sound, tmp_path: Path) -> None:
    findings = await findings_of(sound, cofi_database_url=f"sqlite:///{tmp_path / 'empty.db'}")
    assert_fault(findings["database"], "migrations are missing", "cofi db upgrade")
    assert "audit form" not in findings


async def test_a_missing_form(sound) -> None:
    findings = await findings_of(sound, audit_process_id=99)
    assert_fault(findings["audit form"], "99", "cofi db seed")
    assert findings["database"].level is Level.OK


async def test_a_volume_that_cannot_be_written_to(sound, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    findings = await findings_of(sound, client_volume=tmp_path / "a file" / "volume")
    assert_fault(findings["volume"], "a file", "CLIENT_VOLUME")


async def test_a_machine_that_is_away(sound, stub: StubMachine) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    findings = await findings_of(sound, gpu_machines=f"{stub.url},{away}")
    assert_fault(findings[away], away, "start its mediator")
    assert findings[stub.url].level is Level.OK


async def test_a_machine_whose_engine_failed(sound, stub: StubMachine) -> None:
    stub.states["stt"] = "failed"
    try:
        findings = await findings_of(sound)
    finally:
        stub.states["stt"] = "ready"
    assert_fault(findings[f"{stub.url} stt"], "failed", "log")


async def test_a_machine_that_asks_for_another_key(sound) -> None:
    with running_stub() as locked:
        locked.options.api_key = "another"
        findings = await findings_of(sound, gpu_machines=locked.url, mediator_api_key=SECRET)
    assert_fault(findings[locked.url], "401", "MEDIATOR_API_KEY")


async def test_a_language_model_that_is_away(sound) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    findings = await findings_of(sound, llm_backend="openai", llm_base_url=url, llm_api_key=SECRET)
    assert_fault(findings["language model"], url, "LLM_BASE_URL")


async def test_machines_that_read_the_calls_themselves(sound) -> None:
    assert (await findings_of(sound, llm_backend="mediator"))["language model"].level is Level.OK


async def test_a_dagster_home_that_is_not_set(sound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    assert_fault((await findings_of(sound))["Dagster"], "DAGSTER_HOME is not set", "dagster.yaml")


async def test_a_dagster_home_without_an_instance(sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert_fault((await findings_of(sound))["Dagster"], "holds no dagster.yaml", "dagster.yaml")


async def test_a_dagster_instance_that_cannot_be_read(sound, tmp_path: Path) -> None:
    (tmp_path / "dagster" / "dagster.yaml").write_text("run_storage:\n  module: nowhere\n  class: None\n  config: {}\n")
    assert_fault((await findings_of(sound))["Dagster"], "dagster", "check dagster.yaml")
