"""The real engines on real speech: what they hear, who speaks, where a menu ends. Slow: models are loaded."""

import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from mediator_fakes import digest, encoded, tone, until

from cofi_mediator.audio import RATE, AudioFacts, examine, resampled, windows
from cofi_mediator.engines.denoise import Denoising
from cofi_mediator.engines.ivr import MenuRemoval
from cofi_mediator.engines.lid import LanguageIdentification
from cofi_mediator.engines.speakers import SpeakerEmbedding
from cofi_mediator.engines.stt import Transcription
from cofi_mediator.engines.whisper import Whisper, WhisperChoice
from cofi_mediator.errors import InvalidRequest
from cofi_mediator.models import ensure_model
from cofi_mediator.wav_file import write_wav
from cofi_resources.mediators.protocol import DenoiseRequest, IvrRequest, LidRequest, SttRequest, SttResult

pytestmark = pytest.mark.slow

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
CLIPS = ("0870", "0880", "0890", "0920", "0930")
MODELS = Path(os.environ.get("COFI_TEST_MODELS") or Path(__file__).parents[2] / ".venv" / "models")


def installed(folder: Path, package: str) -> Path:
    """The folder a Debian package holds; skips by name without it, and fails where services are required."""
    if not folder.is_dir():
        reason = f"{package} is not installed"
        if os.environ.get("COFI_REQUIRE_SERVICES") == "1":
            pytest.fail(f"COFI_REQUIRE_SERVICES=1, and {reason}")
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with Whisper base and the speaker embedding, fetched when they are not there."""
    for name in ("whisper-base", "speaker-embedding"):
        ensure_model(name, MODELS)
    return MODELS


@pytest.fixture(scope="session")
def whisper(models: Path) -> Whisper:
    return Whisper(WhisperChoice("base", models, device="cpu"))


@pytest.fixture(scope="session")
def transcription(whisper: Whisper, models: Path) -> Iterator[Transcription]:
    engine = Transcription(whisper, SpeakerEmbedding(models))
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="session")
def librivox() -> list[np.ndarray]:
    """Five sentences of one reader, (1, samples) at 16 kHz."""
    folder = installed(LIBRIVOX, "pocketsphinx-testdata")
    return [sound(folder / f"sense_and_sensibility_01_austen_64kb-{clip}.wav") for clip in CLIPS]


@pytest.fixture(scope="session")
def prompts() -> Path:
    return installed(PROMPTS, "asterisk-core-sounds-en-wav")


def sound(path: Path) -> np.ndarray:
    return next(windows(path)).samples


def silence(seconds: float) -> np.ndarray:
    return np.zeros((1, int(seconds * RATE)), dtype=np.float32)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1)


def telephone(samples: np.ndarray) -> np.ndarray:
    """Through 8 kHz, at one loudness."""
    narrow = joined(*resampled([joined(*resampled([samples], RATE, 8000))], 8000, RATE))
    return (0.08 * narrow / np.sqrt(np.mean(np.square(narrow)))).astype(np.float32)


class Folder:
    """StageFiles over one folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def store(self, file_id: str, samples: np.ndarray) -> None:
        write_wav(self.home / file_id, [samples], channels=len(samples), rate=RATE)

    def path(self, file_id: str) -> Path:
        return self.home / file_id

    def scratch(self) -> Path:
        return self.home / "scratch"

    def adopt(self, written: Path, file_id: str) -> AudioFacts:
        written.rename(self.home / file_id)
        return examine(self.home / file_id)

    def copy(self, file_id: str, output_file_id: str) -> None:
        (self.home / output_file_id).write_bytes((self.home / file_id).read_bytes())


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def plain(text: str) -> list[str]:
    return re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split()


def word_errors(said: list[str], heard: list[str]) -> int:
    """Words to change, add or remove to make one of the other."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        previous, row = row, [number]
        for column, other in enumerate(heard, 1):
            row.append(min(previous[column] + 1, row[-1] + 1, previous[column - 1] + (word != other)))
    return row[-1]


def text_of(result: SttResult) -> str:
    return " ".join(segment.text for segment in result.segments)


def test_read_speech_is_transcribed_with_few_errors(
    transcription: Transcription, librivox: list[np.ndarray], files: Folder
) -> None:
    lines = (LIBRIVOX / "transcription").read_text().splitlines()
    spoken = {line.rpartition("-")[2].rstrip(")"): line.rpartition("(")[0] for line in lines}
    errors = words = 0
    for clip, samples in zip(CLIPS, librivox, strict=True):
        files.store("call", samples)
        result = transcription.run(SttRequest(file_id="call", language="en"), files)
        said = plain(re.sub(r"</?s>", "", spoken[clip]))
        errors += word_errors(said, plain(text_of(result)))
        words += len(said)
        assert all(segment.confidence is not None and segment.confidence > 0.5 for segment in result.segments)
    assert words > 60
    assert errors / words <= 0.10


def test_each_channel_of_a_stereo_call_is_a_speaker_and_turns_are_in_order(
    transcription: Transcription, librivox: list[np.ndarray], prompts: Path, files: Folder
) -> None:
    one = joined(telephone(sound(prompts / "pls-hold-while-try.wav")), silence(0.4))
    two = joined(telephone(librivox[1]), silence(0.4))
    left = joined(one, 0 * two, one)
    right = joined(0 * one, two, 0 * one)
    files.store("call", np.concatenate([left + 0.03 * right, right + 0.03 * left]))
    result = transcription.run(SttRequest(file_id="call", language="en"), files)
    assert [segment.speaker for segment in result.segments] == ["0", "1", "0"]
    assert "hold" in result.segments[0].text
    assert "young man" in result.segments[1].text


def test_two_voices_on_one_channel_are_told_apart(
    transcription: Transcription, librivox: list[np.ndarray], prompts: Path, files: Folder
) -> None:
    asked = [sound(prompts / f"{name}.wav") for name in ("vm-nobodyavail", "pls-hold-while-try", "conf-onlyperson")]
    parts, truth, at_s = [], [], 0.0
    for turn in (turn for pair in zip(asked, librivox, strict=False) for turn in pair):
        samples = joined(telephone(turn), silence(0.3))
        truth.append((at_s, at_s + samples.shape[1] / RATE, str(len(truth) % 2)))
        parts.append(samples)
        at_s = truth[-1][1]
    files.store("call", joined(*parts))

    result = transcription.run(SttRequest(file_id="call", language="en"), files)

    right = 0.0
    for segment in result.segments:
        middle = (segment.start_s + segment.end_s) / 2
        speaker = next(who for start, end, who in truth if start <= middle <= end)
        right += (segment.end_s - segment.start_s) * (speaker == segment.speaker)
    assert right / sum(segment.end_s - segment.start_s for segment in result.segments) > 0.85
    alone = transcription.run(SttRequest(file_id="call", language="en", speakers=1), files)
    assert {segment.speaker for segment in alone.segments} == {"0"}


def test_one_voice_in_a_stereo_file_is_one_speaker(
    transcription: Transcription, librivox: list[np.ndarray], files: Folder
) -> None:
    files.store("call", np.repeat(joined(*librivox[:3]), 2, axis=0))
    result = transcription.run(SttRequest(file_id="call", language="en"), files)
    assert {segment.speaker for segment in result.segments} == {"0"}


def test_hotwords_and_an_open_language_are_taken(
    transcription: Transcription, librivox: list[np.ndarray], files: Folder
) -> None:
    files.store("call", librivox[0])
    result = transcription.run(SttRequest(file_id="call", hotwords=["Dashwood"]), files)
    assert result.language == "en"
    assert "Dashwood" in text_of(result)
    with pytest.raises(InvalidRequest, match="klingon"):
        transcription.run(SttRequest(file_id="call", language="klingon"), files)


@pytest.mark.parametrize("kind", ["silence", "ringing", "noise", "a click"])
def test_a_call_in_which_nobody_speaks_has_no_segments_and_no_language(
    transcription: Transcription, whisper: Whisper, files: Folder, kind: str
) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 20 * RATE)).astype(np.float32)
    ring = joined(tone(2.0, RATE)[None], silence(4.0))
    click = silence(0.02)
    files.store(
        "call", {"silence": silence(20), "ringing": joined(ring, ring), "noise": 0.02 * noise, "a click": click}[kind]
    )
    lid = LanguageIdentification(whisper)
    lid.load()
    assert transcription.run(SttRequest(file_id="call"), files).segments == []
    assert transcription.run(SttRequest(file_id="call", language="hi"), files).segments == []
    found = lid.run(LidRequest(file_id="call"), files)
    assert (found.language, found.confidence) == ("unknown", 0.0)
    lid.unload()


def test_english_is_identified(whisper: Whisper, librivox: list[np.ndarray], files: Folder) -> None:
    lid = LanguageIdentification(whisper)
    lid.load()
    files.store("call", joined(silence(5.0), *librivox))
    found = lid.run(LidRequest(file_id="call"), files)
    assert found.language == "en"
    assert found.confidence is not None
    assert found.confidence > 0.9
    assert found.duration_s == pytest.approx(5.0 + sum(part.shape[1] for part in librivox) / RATE, abs=0.01)
    lid.unload()


def test_a_recorded_menu_with_ringing_is_cut_and_the_talk_is_kept(
    whisper: Whisper, librivox: list[np.ndarray], prompts: Path, files: Folder
) -> None:
    engine = MenuRemoval(whisper)
    engine.load()
    menu = joined(sound(prompts / "basic-pbx-ivr-main.wav"), sound(prompts / "pls-hold-while-try.wav"))
    ring = joined(tone(2.0, RATE, 440)[None] + tone(2.0, RATE, 480)[None], silence(4.0))
    talk = joined(*librivox[:3])
    files.store("call", joined(menu, silence(0.5), ring, ring, talk))
    menu_s, before_talk_s = menu.shape[1] / RATE, (menu.shape[1] + 2 * ring.shape[1]) / RATE + 0.5

    found = engine.run(IvrRequest(file_id="call", output_file_id="cut"), files)

    assert found.ivr_detected
    assert menu_s - 1.0 <= found.ivr_end_s <= before_talk_s + 0.2
    assert found.trimmed_duration_s == pytest.approx(found.original_duration_s - found.ivr_end_s, abs=0.05)
    assert examine(files.path("cut")).duration_s == pytest.approx(found.trimmed_duration_s, abs=0.05)

    files.store("talk", talk)
    untouched = engine.run(IvrRequest(file_id="talk", output_file_id="same"), files)
    assert not untouched.ivr_detected
    assert files.path("same").read_bytes() == files.path("talk").read_bytes()
    engine.unload()


@pytest.mark.parametrize("channels", [1, 2])
def test_denoising_lowers_noise_and_keeps_speech_in_its_place(
    librivox: list[np.ndarray], files: Folder, channels: int
) -> None:
    clean = joined(silence(2.0), telephone(librivox[0]), silence(2.0))
    noise = np.random.default_rng(0).normal(size=clean.shape).astype(np.float32)
    files.store("call", np.repeat(clean + 0.02 * noise, channels, axis=0))
    engine = Denoising()
    engine.load()
    result = engine.run(DenoiseRequest(file_id="call", output_file_id="clean"), files)
    engine.unload()
    before, after = sound(files.path("call"))[0], sound(files.path("clean"))[0]
    assert result.processed_duration_s == pytest.approx(result.original_duration_s, abs=0.01)
    assert examine(files.path("clean")).channels == channels
    quiet = slice(RATE // 2, 3 * RATE // 2)
    lowered_db = 10 * np.log10(np.mean(before[quiet] ** 2) / np.mean(after[quiet] ** 2))
    assert 6.0 < lowered_db < 14.0
    length = min(len(before), len(after))
    lags = range(-80, 81, 4)
    likeness = [float(np.dot(np.roll(after[:length], lag), clean[0, :length])) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 8


def test_a_long_recording_takes_the_memory_of_one_window(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    write_wav(path, (0.1 * tone(60.0)[None] for _ in range(60)), channels=1, rate=8000)
    tracemalloc.start()
    try:
        facts = examine(path)
        heard_s = sum(window.duration_s for window in windows(path, stereo=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts.duration_s == pytest.approx(3600)
    assert heard_s == pytest.approx(3600, abs=1)
    assert peak < 300 << 20


def test_the_process_serves_real_stages_and_ends_on_sigterm(models: Path, tmp_path: Path, prompts: Path) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, "MEDIATOR_PORT": "0", "MEDIATOR_HOME": str(tmp_path), "MEDIATOR_MODELS": str(models)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cofi_mediator"], env=environment, stderr=output, cwd=tmp_path
        )
    try:
        until(lambda: re.search(r"running on (http://\S+)", log.read_text()) or process.poll() is not None)
        found = re.search(r"running on (http://\S+)", log.read_text())
        assert found, log.read_text()
        with httpx.Client(base_url=found.group(1), timeout=120) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            states = {name: stage["state"] for name, stage in client.get("/v1/status").json()["stages"].items()}
            assert states == dict.fromkeys(("denoise", "ivr", "lid", "stt"), "ready")
            samples = telephone(sound(prompts / "pls-hold-while-try.wav"))
            content = encoded(samples, RATE, "mp3", "mp3")
            put = client.put("/v1/files/c1", content=content, headers={"Content-Digest": digest(content)})
            assert put.status_code == 201, put.text
            answer = client.post("/v1/stages/stt", content=json.dumps({"file_id": "c1", "language": "en"}))
            assert "hold" in text_of(SttResult.model_validate(answer.json()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
