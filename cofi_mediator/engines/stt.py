"""The stt stage: who said what, when.

What belongs here: channels, windows, and putting words and speakers together. What does not: the models
(`whisper.py`, `speakers.py`), pure grouping (`utterances.py`).
*Decision:* a stereo file whose channels differ has a party on each: every channel is decoded alone and its words are
merged by time. Whole segments would come out in the wrong order, since they span the other party's answers.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cofi_mediator.audio import RATE, Window, examine, has_distinct_channels, windows
from cofi_mediator.engines.interface import StageFiles
from cofi_mediator.engines.lid import UNKNOWN, choose, decide
from cofi_mediator.engines.speakers import SpeakerEmbedding, VoicePrints, assign_speakers
from cofi_mediator.engines.utterances import Utterance, Word, is_echo, number_speakers, segments_of, split_at_gaps
from cofi_mediator.engines.whisper import Whisper, speech_spans
from cofi_mediator.errors import ModelUnavailable
from cofi_resources.mediators.protocol import Engine, SttRequest, SttResult

ECHO_BELOW_DB = 12.0

log = logging.getLogger(__name__)


class Transcription:
    """Engine of `stt`. Without weights for speaker embeddings, a mono call has one speaker; the log says so."""

    def __init__(self, whisper: Whisper, voices: SpeakerEmbedding) -> None:
        self._whisper = whisper
        self._voices = voices
        self._held = False

    def describe(self) -> Engine:
        return self._whisper.describe()

    def load(self) -> None:
        if self._held:
            return
        self._whisper.acquire()
        self._held = True
        try:
            self._voices.load()
        except ModelUnavailable as error:
            log.warning("mono calls are transcribed with one speaker: %s", error)

    def unload(self) -> None:
        if self._held:
            self._whisper.release()
            self._voices.unload()
        self._held = False

    def run(self, request: SttRequest, files: StageFiles) -> SttResult:
        path = files.path(request.file_id)
        facts = examine(path)
        language = self._whisper.checked_language(request.language) or self._detected(path)
        separate = request.diarization and request.speakers > 1
        spoken: list[tuple[str, Utterance]] = []
        if language != UNKNOWN:
            if separate and has_distinct_channels(path, facts):
                spoken = number_speakers(self._by_channel(path, language, request.hotwords))
            else:
                spoken = self._by_voice(path, language, request.hotwords, request.speakers if separate else 1)
        return SttResult(
            language=language,
            duration_s=round(facts.duration_s, 3),
            segments=segments_of(spoken, facts.duration_s),
            engine=self.describe(),
        )

    def _detected(self, path: Path) -> str:
        """The language to transcribe in, `unknown` where nobody speaks; a mixed call is transcribed as Hindi."""
        if not self._whisper.is_multilingual:
            return "en"
        for window in windows(path):
            mono = window.samples[0]
            heard = [self._whisper.language_shares(mono[first:end]) for first, end in choose(speech_spans(mono))]
            if heard:
                return self._whisper.checked_language(decide(heard)[0]) or UNKNOWN
        return UNKNOWN

    def _by_channel(self, path: Path, language: str, hotwords: Sequence[str]) -> list[tuple[int, Utterance]]:
        spoken: list[tuple[int, Utterance]] = []
        for window in windows(path, stereo=True):
            heard = [self._words(window, channel, language, hotwords) for channel in (0, 1)]
            for channel in (0, 1):
                own = without_crosstalk(window, channel, heard[channel], heard[1 - channel])
                spoken += [(channel, utterance) for utterance in split_at_gaps(own)]
        return spoken

    def _by_voice(
        self, path: Path, language: str, hotwords: Sequence[str], speakers: int
    ) -> list[tuple[str, Utterance]]:
        words: list[Word] = []
        prints = VoicePrints()
        for window in windows(path):
            found = self._words(window, 0, language, hotwords)
            words += found
            if speakers > 1 and found and self._voices.is_loaded:
                prints.extend(self._voices.prints(window, speech_spans(window.samples[0])))
        if speakers > 1 and len(prints) > 1:
            return number_speakers(assign_speakers(words, prints, speakers))
        return [("0", utterance) for utterance in split_at_gaps(words)]

    def _words(self, window: Window, channel: int, language: str, hotwords: Sequence[str]) -> list[Word]:
        samples = np.ascontiguousarray(window.samples[channel])
        return [
            Word(word.start_s + window.start_s, word.end_s + window.start_s, word.text, word.probability)
            for word in self._whisper.words(samples, language, hotwords)
        ]


def without_crosstalk(window: Window, channel: int, words: Sequence[Word], others: Sequence[Word]) -> list[Word]:
    """A channel's words without those that leak in from the other one.

    A run of words is crosstalk when the other channel is clearly louder during each, and says most of them as well:
    a party who speaks softly while the other one shouts is kept.
    """
    kept: list[Word] = []
    for fainter, run in itertools.groupby(words, key=lambda word: _is_fainter(window, channel, word)):
        spoken = tuple(run)
        if not (fainter and is_echo(spoken, others)):
            kept += spoken
    return kept


def _is_fainter(window: Window, channel: int, word: Word) -> bool:
    first = int((word.start_s - window.start_s) * RATE)
    end = int((word.end_s - window.start_s) * RATE) + 1
    here, there = (float(np.square(window.samples[side, first:end]).sum()) for side in (channel, 1 - channel))
    return here * 10 ** (ECHO_BELOW_DB / 10) < there
