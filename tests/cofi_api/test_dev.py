"""`cofi dev`: it keeps to its home, keeps what is there, and ends when it is asked to."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from services import free_port

from cofi_api.dev import (
    DevOptions,
    Embedded,
    create_database,
    create_volume,
    drop_samples,
    embedded_environment,
    embedded_settings,
)
from cofi_resources.database import forms
from cofi_resources.database.engine import Database
from cofi_resources.forms import read_form
from cofi_resources.settings import Settings

REPOSITORY = Path(__file__).parents[2]
SECRET = "open-sesame"
PRODUCTION = {"COFI_DATABASE_URL": f"mysql+pymysql://cofi:{SECRET}@db/cofi", "CLIENT_VOLUME": "/srv/calls"}
ENDS_WITHIN_S = 10.0


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a .env file."""
    monkeypatch.chdir(tmp_path)


def embedded_in(home: Path, said: list[str] | None = None) -> Embedded:
    options = DevOptions(home)
    settings = embedded_settings(options, home, None, (said if said is not None else []).append)
    return Embedded(options, settings, embedded_environment(settings), free_port(), free_port(), None)


def load_form_of(settings: Settings, process_id: int = 1):
    database = Database(settings.resolved_database_url)
    form = database.read(lambda connection: forms.load_form(connection, process_id))
    database.dispose()
    return form


def test_the_first_start_loads_the_packaged_form(tmp_path: Path) -> None:
    embedded = embedded_in(tmp_path)
    create_database(embedded)
    assert load_form_of(embedded.settings).version == read_form().version


@pytest.mark.parametrize("process_id", ["1", "2"])
def test_a_later_start_leaves_the_operators_form_alone(
    tmp_path: Path, process_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_PROCESS_ID", process_id)
    embedded = embedded_in(tmp_path)
    create_database(embedded)
    edited = replace(read_form(), version="ours", questions=read_form().questions[:3])
    database = Database(embedded.settings.resolved_database_url)
    database.transact(lambda connection: forms.seed(connection, edited))
    database.dispose()
    create_database(embedded)
    kept = load_form_of(embedded.settings)
    assert (kept.version, len(kept.questions)) == ("ours", 3)


@pytest.mark.parametrize("place", ["shell", ".env"])
def test_a_production_set_up_beside_it_is_not_touched(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "shell":
        for name, value in PRODUCTION.items():
            monkeypatch.setenv(name, value)
    else:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in PRODUCTION.items()))
    home, said = tmp_path / "home", []
    embedded = embedded_in(home, said)
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)
    for settings in (embedded.settings, Settings.load()):
        assert settings.resolved_database_url == f"sqlite:///{home / 'cofi.db'}"
        assert settings.resolved_client_volume == home / "client_volume"
    (line,) = said
    assert all(name in line for name in PRODUCTION)
    assert SECRET not in line


def test_without_such_variables_nothing_is_said_of_them(tmp_path: Path) -> None:
    said: list[str] = []
    embedded_in(tmp_path, said)
    assert said == []


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "one.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Embedded:
    """An installation without calls."""
    embedded = embedded_in(tmp_path / "home")
    create_volume(embedded)
    create_database(embedded)
    return embedded


def test_samples_that_wait_in_the_uploads_are_not_dropped_again(empty: Embedded, samples: Path) -> None:
    assert drop_samples(samples, empty.settings) == 1
    assert drop_samples(samples, empty.settings) == 0
    uploads = empty.settings.resolved_client_volume / "uploads"
    assert [str(path.relative_to(uploads)) for path in sorted(uploads.rglob("*"))] == ["samples", "samples/one.wav"]


def test_samples_that_were_taken_and_not_registered_yet_are_not_dropped_again(empty: Embedded, samples: Path) -> None:
    drop_samples(samples, empty.settings)
    volume = empty.settings.resolved_client_volume
    (volume / "uploads" / "samples").rename(volume / "accepted" / "a-token")
    assert drop_samples(samples, empty.settings) == 0


def test_a_copy_that_was_cut_short_is_made_again(empty: Embedded, samples: Path) -> None:
    unfinished = empty.settings.resolved_client_volume / "uploads" / "samples.part"
    unfinished.mkdir()
    (unfinished / "half.wav").touch()
    assert drop_samples(samples, empty.settings) == 1
    assert [path.name for path in (unfinished.with_suffix("")).iterdir()] == ["one.wav"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_start_ends_at_once_while_models_are_fetched(tmp_path: Path, number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(60)
        environment |= {
            "PYTHONPATH": str(REPOSITORY),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
            "NO_PROXY": "127.0.0.1",
        }
        options = ["--home", str(tmp_path / "home"), "--port", str(free_port()), "--mediator-port", str(free_port())]
        starting = subprocess.Popen(
            [sys.executable, "-c", "from cofi_api.cli import app; app()", "dev", *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            # An index that is asked, and never answers.
            connection, _ = index.accept()
            with connection:
                asked = time.monotonic()
                starting.send_signal(number)
                said, _ = starting.communicate(timeout=60)
        finally:
            starting.kill()
    assert time.monotonic() - asked < ENDS_WITHIN_S
    assert starting.returncode == 0
    assert said.splitlines()[-1] == "ending"
    assert "could not be had" not in said
    assert not list((tmp_path / "home" / "models").iterdir()), "unfinished downloads are removed"
