"""The sample calls: what `samples/expected.yaml` says of them must be so."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cofi_mediator.audio import examine, has_distinct_channels
from cofi_resources.forms import read_form, read_yaml
from cofi_resources.records import CallStatus
from cofi_resources.volume import fault_of_name
from scripts.make_samples import ENCODERS, VOICES, levelled, line_noise, resampled, telephone_band

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
FILE_BYTES = 400_000
TOTAL_BYTES = 2_500_000
SHORT_CALL_S = 5.0
CODEC_NAMES = {"mp3": {"mp3", "mp3float"}, "mulaw": {"pcm_mulaw"}, "alaw": {"pcm_alaw"}}
OPUS_RATE_HZ = 48_000
LICENCES = ("Apache-2.0", "CC BY-SA 3.0", "public domain")


def read_calls() -> list[dict[str, Any]]:
    described: Any = read_yaml(SAMPLES / "expected.yaml")
    return described["calls"]


CALLS = read_calls()
each_call = pytest.mark.parametrize("call", CALLS, ids=[call["file"] for call in CALLS])


def test_every_recording_is_described_and_every_description_has_its_recording():
    described = Counter(call["file"] for call in CALLS)
    on_disk = Counter(path.name for path in SAMPLES.iterdir() if fault_of_name(path.name) is None)
    assert described == on_disk


def test_nothing_else_lies_in_the_folder():
    others = {path.name for path in SAMPLES.iterdir()} - {call["file"] for call in CALLS}
    assert others == {"README.md", "expected.yaml"}


def test_recordings_are_small_enough_for_a_repository():
    sizes = {call["file"]: (SAMPLES / call["file"]).stat().st_size for call in CALLS}
    assert max(sizes.values()) < FILE_BYTES
    assert sum(sizes.values()) < TOTAL_BYTES


@each_call
def test_the_recording_is_in_the_format_that_is_described(call: dict[str, Any]):
    recording = call["recording"]
    with av.open(str(SAMPLES / call["file"])) as container:
        stream = container.streams.audio[0]
        decoded = sum(frame.samples for frame in container.decode(stream))
        assert stream.codec_context.name in CODEC_NAMES.get(recording["codec"], {recording["codec"]})
        assert stream.codec_context.channels == recording["channels"]
        assert stream.codec_context.sample_rate == (
            OPUS_RATE_HZ if recording["codec"] == "opus" else recording["rate_hz"]
        )
        assert decoded > stream.codec_context.sample_rate


@each_call
def test_a_recording_is_as_long_as_its_status_needs(call: dict[str, Any]):
    duration_s = examine(SAMPLES / call["file"]).duration_s
    assert (duration_s < SHORT_CALL_S) == (call["status"] == CallStatus.SHORT_CALL)
    assert duration_s < 80


@each_call
def test_two_channels_hold_one_party_each(call: dict[str, Any]):
    path = SAMPLES / call["file"]
    assert has_distinct_channels(path, examine(path)) == (call["recording"]["channels"] == 2)


@each_call
def test_only_known_speakers_speak_and_each_of_them_does(call: dict[str, Any]):
    heard = {speaker for turn in call["script"] for speaker in turn}
    assert heard - {"menu"} == set(call["speakers"])
    assert ("menu" in heard) == (call["origin"] == "menu")
    if call["origin"] != "read":
        assert set(call["speakers"].values()) <= set(VOICES)


@each_call
def test_expected_answers_are_choices_of_the_order_desks_form(call: dict[str, Any]):
    choices = {question.key: question.choices for question in read_form().questions}
    wrong = {key: answer for key, answer in call["answers"].items() if answer not in choices.get(key, ())}
    assert wrong == {}


def test_every_question_of_the_form_is_decided_by_some_sample():
    decided = {key for call in CALLS for key in call["answers"]}
    assert {question.key for question in read_form().questions} - decided == set()


@each_call
def test_a_trade_stands_in_one_sentence_of_the_client_or_the_dealer(call: dict[str, Any]):
    said = [text for turn in call["script"] for text in turn.values()]
    for trade in call["trades"]:
        assert set(trade) == {"script_name", "buy_sell", "quantity", "trade_price", "strike_price", "option_type"}
        assert trade["buy_sell"] in {"BUY", "SELL"}
        if call["language"] == "en":
            words = (trade["script_name"], trade["buy_sell"].lower())
            assert any(all(word in text or word.capitalize() in text for word in words) for text in said)


def test_the_samples_cover_what_brokers_recorders_write():
    assert {call["recording"]["codec"] for call in CALLS} == set(ENCODERS)
    assert {call["recording"]["channels"] for call in CALLS} == {1, 2}
    assert {call["recording"]["rate_hz"] for call in CALLS} == {8_000, 16_000}
    assert {call["language"] for call in CALLS} == {"en", "hi"}
    assert {call["origin"] for call in CALLS} == {"synthesised", "menu", "read"}


@each_call
def test_the_readme_lists_the_recording_with_its_length_and_its_licence(call: dict[str, Any]):
    (row,) = [line for line in (SAMPLES / "README.md").read_text("utf-8").splitlines() if f"`{call['file']}`" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"{examine(SAMPLES / call['file']).duration_s:.0f}"
    assert cells[-1].startswith(LICENCES)


def test_what_the_script_needs_is_pinned_and_names_no_address():
    lines = (ROOT / "scripts" / "requirements-samples.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin)] == []


def tone(hertz: float, rate_hz: int = 8_000) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(rate_hz) / rate_hz)


def test_playing_faster_shortens_and_raises_the_pitch():
    faster = resampled(tone(500), 1.25)
    assert len(faster) == 6_400
    assert np.argmax(np.abs(np.fft.rfft(faster))) * 8_000 / 6_400 == pytest.approx(625)
    assert np.abs(faster).max() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("hertz", "passes"), [(50, False), (1_000, True), (3_900, False)])
def test_a_telephone_line_carries_the_middle_of_the_band_alone(hertz: float, passes: bool):
    level = np.sqrt(np.mean(telephone_band(tone(hertz), 8_000) ** 2))
    assert (level > 0.6) == passes


def test_noise_and_speech_come_at_the_level_that_was_asked_for():
    noise = line_noise(80_000, 8_000, -50, np.random.default_rng(1))
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-49, abs=0.5)
    assert 10 * np.log10(np.mean(levelled(tone(440), -22) ** 2)) == pytest.approx(-22)
