"""The command line: what it prints and how it ends."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from machines import running_stub
from services import free_port
from typer.testing import CliRunner, Result

from cofi_api.cli import app

REPOSITORY = Path(__file__).parents[2]


def cofi(*arguments: str | Path, **environment: str | Path) -> Result:
    names = {name: str(value) for name, value in environment.items()}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200", **names})


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a .env file."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of an installation in which two calls were audited."""
    home = tmp_path_factory.mktemp("home")
    with running_stub() as stub:
        subprocess.run(
            [sys.executable, str(REPOSITORY / "tests" / "audit_two_calls.py"), "audit_answers", str(home / "seen")],
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "COFI_HOME": str(home),
                "GPU_MACHINES": stub.url,
                "LLM_BACKEND": "mediator",
            },
            cwd=home,
            capture_output=True,
            check=True,
        )
    return home


def test_tables_are_made_once_and_the_form_can_be_loaded_again(tmp_path: Path) -> None:
    first = cofi("db", "upgrade", COFI_HOME=tmp_path)
    assert first.exit_code == 0
    assert "applied 0001" in first.output
    assert "up to date" in cofi("db", "upgrade", COFI_HOME=tmp_path).output
    for _ in range(2):
        seeded = cofi("db", "seed", COFI_HOME=tmp_path)
        assert seeded.exit_code == 0
        assert re.search(r"\d\d questions, version ", seeded.output)


def test_a_form_with_a_fault_is_refused_in_words_and_without_a_stack_trace(tmp_path: Path) -> None:
    cofi("db", "upgrade", COFI_HOME=tmp_path)
    (tmp_path / "form.yaml").write_text("name: [")
    refused = cofi("db", "seed", "--form", tmp_path / "form.yaml", COFI_HOME=tmp_path)
    assert refused.exit_code == 1
    assert "form.yaml" in refused.stderr
    assert "Traceback" not in refused.output


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["1", "one.wav", "2026-01-15.1|000001-one.wav"])
def test_a_call_is_shown_by_number_name_or_key_with_its_evidence(audited: Path, reference: str) -> None:
    shown = cofi("show", reference, COFI_HOME=audited)
    assert shown.exit_code == 0, shown.output
    assert re.search(r"one\.wav +call 1 +2026-01-15\.1\|000001-one\.wav", shown.output)
    assert re.search(r"audit_answers +done", shown.output)
    assert re.search(r"BUY +50 +RELIANCE +2450", shown.output)
    assert "please buy fifty shares of reliance" in shown.output
    assert re.search(r"score [\d.]+ of [\d.]+", shown.output)


@pytest.mark.slow
def test_a_call_is_shown_as_json_with_everything_in_it(audited: Path) -> None:
    view = json.loads(cofi("show", "two.wav", "--json", COFI_HOME=audited).stdout)
    assert view["call"]["file"] == "two.wav"
    assert len(view["segments"]) == 50
    assert view["trades"][0]["evidence"]["quote"] == view["segments"][0]["text"]
    assert {stage["state"] for stage in view["stages"]} == {"done"}
    assert len(view["answers"]) >= 20


@pytest.mark.slow
def test_a_call_that_is_not_there_is_said_in_words(audited: Path) -> None:
    missing = cofi("show", "nobody.wav", COFI_HOME=audited)
    assert missing.exit_code == 1
    assert "nobody.wav" in missing.stderr
    assert missing.stdout == ""


@pytest.mark.parametrize("command", [("show", "1"), ("db", "seed")])
def test_missing_tables_are_said_with_the_remedy(tmp_path: Path, command: tuple[str, ...]) -> None:
    stopped = cofi(*command, COFI_HOME=tmp_path)
    assert stopped.exit_code == 1
    assert "cofi db upgrade" in stopped.stderr
    assert stopped.exception is None or isinstance(stopped.exception, SystemExit)


def test_a_call_is_missing_from_empty_tables_too(tmp_path: Path) -> None:
    cofi("db", "upgrade", COFI_HOME=tmp_path)
    missing = cofi("show", "1", COFI_HOME=tmp_path)
    assert missing.exit_code == 1
    assert "there is none" in missing.stderr


def test_a_folder_to_drop_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = cofi("dev", "--home", tmp_path / "home", "--drop", tmp_path / "nowhere")
    assert refused.exit_code == 2
    assert not (tmp_path / "home").exists()


def test_a_wrong_setting_ends_a_command_with_its_name(tmp_path: Path) -> None:
    stopped = cofi("db", "upgrade", COFI_HOME=tmp_path, FILES_PER_RUN="many")
    assert stopped.exit_code == 1
    assert "FILES_PER_RUN" in stopped.stderr


def test_the_doctor_ends_with_1_where_there_is_a_fault_and_shows_its_remedy(tmp_path: Path) -> None:
    with running_stub() as stub:
        examined = cofi("doctor", COFI_HOME=tmp_path, GPU_MACHINES=stub.url, DAGSTER_HOME="")
    assert examined.exit_code == 1
    assert "cofi db upgrade" in examined.stdout
    assert "DAGSTER_HOME is not set" in examined.stdout


def test_the_example_of_settings_is_printed_as_it_is_in_the_repository() -> None:
    assert cofi("doctor", "--env-example").stdout == (REPOSITORY / ".env.example").read_text(encoding="utf-8")


def test_the_form_is_evaluated_question_by_question() -> None:
    evaluated = cofi("eval", "--backend", "rules")
    assert evaluated.exit_code == 0, evaluated.output
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) *$", evaluated.stdout, re.MULTILINE)
    assert len(rows) >= 15
    assert all(int(agreed) <= int(asked) for _, agreed, asked in rows)


def test_the_form_is_evaluated_on_the_machines_own_models() -> None:
    with running_stub() as stub:
        evaluated = cofi("eval", GPU_MACHINES=stub.url, LLM_BACKEND="mediator")
    assert evaluated.exit_code == 0, evaluated.output
    assert len(re.findall(r"^(\w+) +(\d+) +(\d+) *$", evaluated.stdout, re.MULTILINE)) >= 15


def test_an_unknown_back_end_is_named() -> None:
    refused = cofi("eval", "--backend", "oracle")
    assert refused.exit_code == 1
    assert "LLM_BACKEND" in refused.stderr


@pytest.mark.parametrize(("option", "wanted"), [("--port", "Dagster's page"), ("--mediator-port", "a mediator")])
def test_dev_names_the_option_of_a_taken_port(tmp_path: Path, option: str, wanted: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ports = {"--port": free_port(), "--mediator-port": free_port(), option: port}
        # A process of its own: the command takes over the signals.
        ended = subprocess.run(
            [sys.executable, "-c", "from cofi_api.cli import app; app()", "dev", "--home", str(tmp_path)]
            + [str(part) for pair in ports.items() for part in pair],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert f"port {port}, wanted for {wanted}, is taken" in ended.stderr
    assert option in ended.stderr
    assert not (tmp_path / "cofi.db").exists()
