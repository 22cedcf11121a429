"""`cofi doctor`: is this installation able to work, and if not, what is to be done.

What belongs here: one function a thing to check, each giving a finding with its remedy. What does not: printing
(`rendering.py`), mending anything.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import dagster as dg

from cofi_api.readers import opened_reader
from cofi_resources.database import forms
from cofi_resources.database.engine import Database
from cofi_resources.errors import CofiError, TransientError
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.settings import Settings, dagster_home
from cofi_resources.volume import Volume

DATABASE_PATIENCE_S = 5.0
LOW_DISK_BYTES = 5 << 30
NEEDED_ON_MACHINES = ("lid", "stt")


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `remedy` says what to do where it is not ok."""

    subject: str
    level: Level
    seen: str
    remedy: str = ""

    @property
    def is_fault(self) -> bool:
        return self.level is Level.FAULT


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order of what depends on what. A check that breaks is itself a finding."""
    checks: Sequence[tuple[str, Callable[[Settings], Awaitable[list[Finding]]], str]] = (
        ("settings", settings_are_read, "correct the variable that is named"),
        ("database", database_is_ready, "start the database server, or correct COFI_DATABASE_URL"),
        ("audit form", form_is_loaded, "run `cofi db seed`, or correct AUDIT_PROCESS_ID"),
        ("volume", volume_is_writable, "point CLIENT_VOLUME at a folder this user may write to"),
        ("machines", machines_answer, "correct GPU_MACHINES"),
        (
            "language model",
            llm_answers,
            "start its server, or correct LLM_BASE_URL, LLM_MODEL or LLM_API_KEY; LLM_BACKEND=rules needs none",
        ),
        ("Dagster", dagster_is_alive, "check dagster.yaml and DAGSTER_MYSQL_*"),
    )
    findings: list[Finding] = []
    for subject, check, remedy in checks:
        try:
            findings += await check(settings)
        except CofiError as error:
            findings.append(Finding(subject, Level.FAULT, str(error), remedy))
    return findings


async def settings_are_read(settings: Settings) -> list[Finding]:
    return [Finding("settings", Level.OK, f"read; COFI_HOME is {settings.resolved_home}")]


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.resolved_database_url, retry_budget_s=DATABASE_PATIENCE_S)
    try:
        yield database
    finally:
        database.dispose()


async def database_is_ready(settings: Settings) -> list[Finding]:
    with opened_database(settings) as database:
        pending = database.pending_revisions()
    if pending:
        seen = f"migrations are missing: {', '.join(pending)}"
        return [Finding("database", Level.FAULT, seen, "run `cofi db upgrade`")]
    return [Finding("database", Level.OK, "reachable, tables up to date")]


async def form_is_loaded(settings: Settings) -> list[Finding]:
    with opened_database(settings) as database:
        if database.pending_revisions():
            return []
        form = database.read(lambda connection: forms.load_form(connection, settings.audit_process_id))
    return [Finding("audit form", Level.OK, f"{form.name}, {len(form.questions)} questions, version {form.version}")]


async def volume_is_writable(settings: Settings) -> list[Finding]:
    volume = Volume(settings.resolved_client_volume)
    try:
        volume.create()
    except OSError as error:
        return [
            Finding(
                "volume",
                Level.FAULT,
                f"{volume.root}: {error.strerror}",
                "create the folder, or point CLIENT_VOLUME at one this user may write to",
            )
        ]
    unwritable = [str(folder) for folder in (volume.uploads, volume.accepted, volume.rejected) if not _writable(folder)]
    if unwritable:
        return [Finding("volume", Level.FAULT, f"not writable: {', '.join(unwritable)}", "give this user write access")]
    free = shutil.disk_usage(volume.root).free
    if free < LOW_DISK_BYTES:
        return [
            Finding("volume", Level.WARNING, f"{free >> 20} MiB are free on {volume.root}", "make room before a batch")
        ]
    return [Finding("volume", Level.OK, f"{volume.root}, {free >> 30} GiB free")]


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


async def machines_answer(settings: Settings) -> list[Finding]:
    async with MediatorPoolResource.of(settings).open() as pool:
        statuses = await pool.statuses()
    findings = []
    for machine, status in statuses.items():
        if isinstance(status, CofiError):
            away = "start its mediator, or take the machine out of GPU_MACHINES"
            refused = "correct GPU_MACHINES or MEDIATOR_API_KEY"
            remedy = away if isinstance(status, TransientError) else refused
            findings.append(Finding(machine, Level.FAULT, str(status), remedy))
            continue
        missing = [name for name in NEEDED_ON_MACHINES if name not in status.stages]
        failed = {name: stage.detail for name, stage in status.stages.items() if stage.state == "failed"}
        if missing:
            findings.append(
                Finding(machine, Level.FAULT, f"offers no {', '.join(missing)}", "check that mediator's settings")
            )
        for name, detail in failed.items():
            level = Level.FAULT if name in NEEDED_ON_MACHINES else Level.WARNING
            findings.append(Finding(f"{machine} {name}", level, detail or "failed", "see that mediator's log"))
        if not missing and not failed:
            stages = ", ".join(f"{name} {stage.state} x{stage.capacity}" for name, stage in status.stages.items())
            findings.append(Finding(machine, Level.OK, stages))
    return findings


async def llm_answers(settings: Settings) -> list[Finding]:
    async with opened_reader(settings) as reader:
        return [Finding("language model", Level.OK, await reader.check())]


async def dagster_is_alive(_: Settings) -> list[Finding]:
    home = dagster_home()
    if home is None:
        return [
            Finding("Dagster", Level.FAULT, "DAGSTER_HOME is not set", "point it at the folder that holds dagster.yaml")
        ]
    if not (home / "dagster.yaml").is_file():
        seen = f"DAGSTER_HOME {home} holds no dagster.yaml"
        return [Finding("Dagster", Level.FAULT, seen, "point it at the folder that holds dagster.yaml")]
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            beats = instance.get_daemon_statuses()
    except Exception as error:  # noqa: BLE001 - Dagster's storages raise whatever their drivers do
        seen = f"{home}: {type(error).__name__}: {str(error).strip()}".splitlines()[0]
        return [Finding("Dagster", Level.FAULT, seen, "check dagster.yaml and DAGSTER_MYSQL_*")]
    silent = sorted(name for name, status in beats.items() if status.required and not status.healthy)
    if silent:
        return [Finding("Dagster", Level.FAULT, f"no heartbeat of {', '.join(silent)}", "start dagster-daemon")]
    return [Finding("Dagster", Level.OK, f"daemons alive, home {home}")]


def env_example() -> str:
    """`.env.example`: every setting with its meaning and default, commented out.

    The mediator's part comes from its own command: it runs on other machines, and nothing here imports it.
    """
    settings = "".join(
        f"# {field.description}\n# {name.upper()}={'' if field.default is None else field.default}\n\n"
        for name, field in Settings.model_fields.items()
    )
    command = [sys.executable, "-m", "cofi_mediator.settings"]
    mediator = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    return (
        "# Made by `cofi doctor --env-example`. Every setting, with its default.\n\n"
        f"# --- Code location, daemon and command line ---\n\n{settings}"
        f"# --- Reference mediator, on each GPU machine ---\n\n{mediator.rstrip()}\n"
    )
