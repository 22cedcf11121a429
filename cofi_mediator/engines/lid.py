"""The lid stage: which language a call is held in.

What belongs here: choosing what to listen to, and the rule for mixed calls. What does not: the model (`whisper.py`).
*Decision:* several utterances are heard, not the first half minute, which is often ringing, a menu or a greeting.
*Decision:* a call is hinglish when, over its utterances, English has between 30 and 85 % of what English and Hindi
have together. Measured with Whisper base: mixed calls 0.60 to 0.67, Hindi 0.06 to 0.13, English over 0.93.
"""

from collections.abc import Sequence

from cofi_mediator.audio import RATE, examine, windows
from cofi_mediator.engines.interface import StageFiles
from cofi_mediator.engines.whisper import Whisper, speech_spans
from cofi_mediator.errors import ModelUnavailable
from cofi_resources.mediators.protocol import Engine, LanguageCandidate, LidRequest, LidResult

UTTERANCES_HEARD = 8
SHORTEST_S = 1.0
UNKNOWN = "unknown"
HINGLISH_ENGLISH_SHARE = (0.30, 0.85)
HINGLISH_LEAST_TOGETHER = 0.6
CANDIDATES = 5
LEAST_CANDIDATE = 0.01


class LanguageIdentification:
    """Engine of `lid`."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper
        self._held = False

    def describe(self) -> Engine:
        return self._whisper.describe()

    def load(self) -> None:
        if self._held:
            return
        self._whisper.acquire()
        if not self._whisper.is_multilingual:
            self._whisper.release()
            raise ModelUnavailable(
                f"{self._whisper.choice.model!r} knows English alone: set MEDIATOR_WHISPER_MODEL to a multilingual "
                "model such as base, or leave lid out of MEDIATOR_STAGES"
            )
        self._held = True

    def unload(self) -> None:
        if self._held:
            self._whisper.release()
        self._held = False

    def run(self, request: LidRequest, files: StageFiles) -> LidResult:
        path = files.path(request.file_id)
        facts = examine(path)
        heard: list[dict[str, float]] = []
        for window in windows(path):
            mono = window.samples[0]
            heard = [self._whisper.language_shares(mono[first:end]) for first, end in choose(speech_spans(mono))]
            if heard:
                break
        language, confidence, candidates = decide(heard)
        return LidResult(
            language=language,
            confidence=confidence,
            duration_s=round(facts.duration_s, 3),
            candidates=[LanguageCandidate(language=code, confidence=share) for code, share in candidates],
        )


def choose(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Up to eight spans to listen to: the longest, in order of time; short ones only where nothing else is."""
    long_enough = [span for span in spans if span[1] - span[0] >= SHORTEST_S * RATE] or list(spans)
    longest = sorted(long_enough, key=lambda span: span[0] - span[1])[:UTTERANCES_HEARD]
    return sorted(longest)


def decide(heard: Sequence[dict[str, float]]) -> tuple[str, float, list[tuple[str, float]]]:
    """Language, confidence and candidates, best first, from each utterance's shares. Nothing heard: unknown, 0."""
    if not heard:
        return UNKNOWN, 0.0, []
    mean = {code: sum(shares.get(code, 0.0) for shares in heard) / len(heard) for shares in heard for code in shares}
    ranked = sorted(mean.items(), key=lambda pair: -pair[1])
    candidates = [(code, round(min(1.0, share), 4)) for code, share in ranked[:CANDIDATES] if share >= LEAST_CANDIDATE]
    together = mean.get("en", 0.0) + mean.get("hi", 0.0)
    english = sum(_english_share(shares) for shares in heard) / len(heard)
    low, high = HINGLISH_ENGLISH_SHARE
    if together >= HINGLISH_LEAST_TOGETHER and low <= english <= high:
        return "hinglish", round(min(1.0, together), 4), candidates
    return ranked[0][0], round(min(1.0, ranked[0][1]), 4), candidates


def _english_share(shares: dict[str, float]) -> float:
    english, hindi = shares.get("en", 0.0), shares.get("hi", 0.0)
    return english / (english + hindi) if english + hindi > 0 else 0.0
