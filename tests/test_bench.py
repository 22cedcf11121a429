"""The benchmarks still run, and their arithmetic holds: a few calls through each, no figure is judged."""

import wave
from pathlib import Path

import pytest

from bench import first_result, markdown, throughput, utilisation
from bench.__main__ import parser
from bench.databases import SqliteFiles, server_at
from bench.utilisation import MachineUse, overall, span_of
from cofi_api.dev import SPEECH_MODELS

CALLS = 3


def quiet(_: str) -> None:
    """Progress is of no interest here."""


def a_machine(requests: int, first: float, last: float) -> dict[str, object]:
    return {
        "requests": {"stt": requests} if requests else {},
        "busy": {"stt": {"first_start": first, "last_start": last}},
    }


@pytest.mark.slow
def test_a_batch_is_measured_through_all_stages(tmp_path: Path) -> None:
    measured = throughput.measure_batch(tmp_path / "home", SqliteFiles(), CALLS)
    assert measured.batch.calls == CALLS
    assert all(run.success for run in measured.batch.runs)
    assert measured.batch.created.planned_events == 5 * CALLS
    assert measured.batch.run_cpu_ms_per_call > 0
    assert measured.batch.peak_rss_bytes > 50 << 20
    assert len(measured.row()) == len(throughput.HEADER)


@pytest.mark.slow
@pytest.mark.services
def test_a_batch_is_measured_on_a_server_with_stock_events(mariadb_server_url: str, tmp_path: Path) -> None:
    server = server_at(mariadb_server_url)
    measured = throughput.measure_batch(tmp_path / "home", server, CALLS, bulk_events=False)
    assert measured.database.startswith(("MariaDB", "MySQL"))
    assert measured.batch.database_cpu_s > 0


@pytest.mark.slow
def test_utilisation_shows_every_machine_and_all(tmp_path: Path) -> None:
    section = utilisation.utilisation(tmp_path, SqliteFiles(), 8, quiet)
    assert [row[0] for row in section.rows] == ["1", "2", "3", "4, 3 times slower", "all"]
    assert section.rows[-1][1] == "8"


def test_the_span_of_the_work_is_that_of_the_machines_that_worked() -> None:
    assert span_of([a_machine(3, 10.0, 20.0), a_machine(2, 9.0, 15.0), a_machine(0, 0.0, 0.0)], "stt") == (9.0, 20.0)


def test_a_machine_that_idles_lowers_the_share_of_all() -> None:
    uses = [MachineUse(1.0, 5, 40.0, 40.0), MachineUse(1.0, 0, 0.0, 40.0)]
    assert [use.share for use in uses] == [1.0, 0.0]
    assert overall(uses) == 0.5


def test_without_models_the_first_result_is_skipped_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(first_result.Skipped, match=r"whisper-base.*--models"):
        first_result.first_result(tmp_path, tmp_path / "models", None, quiet)


def test_a_recording_too_short_to_be_transcribed_is_refused(tmp_path: Path) -> None:
    for model in SPEECH_MODELS:
        (tmp_path / model).mkdir()
    clip = tmp_path / "short.wav"
    with wave.open(str(clip), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes(bytes(2 * 8000))
    with pytest.raises(first_result.Skipped, match="shorter than 5 s"):
        first_result.first_result(tmp_path, tmp_path, clip, quiet)


def test_without_recordings_the_first_result_is_skipped_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(first_result.Skipped, match="--clip"):
        first_result.shortest_recording(tmp_path)


def test_tables_replace_what_stands_between_the_marks() -> None:
    document = f"# Title\n{markdown.BEGIN}\nold\n{markdown.END}\nafter"
    replaced = markdown.put_between_marks(document, "new\n")
    assert replaced == f"# Title\n{markdown.BEGIN}\nnew\n{markdown.END}\nafter"
    assert markdown.put_between_marks(replaced, "new") == replaced


@pytest.mark.parametrize("document", ["no marks", f"{markdown.END}{markdown.BEGIN}", markdown.BEGIN * 2 + markdown.END])
def test_a_document_without_its_marks_is_left_alone(document: str) -> None:
    with pytest.raises(ValueError, match="must hold"):
        markdown.put_between_marks(document, "new")


def test_the_readme_has_the_marks() -> None:
    readme = Path(__file__).parent.parent / "README.md"
    markdown.put_between_marks(readme.read_text(encoding="utf-8"), "")


def test_a_row_that_does_not_fit_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        markdown.table(("a", "b"), [("1",)])


def test_a_number_of_calls_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--calls", "0"])
    assert "at least 1" in capsys.readouterr().err
