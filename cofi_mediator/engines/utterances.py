"""Words to utterances: pure functions, times in seconds.

What belongs here: grouping, ordering, confidence. What does not: recognising words or speakers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cofi_resources.mediators.protocol import SttSegment

UTTERANCE_GAP_S = 0.6
SENTENCE_LEAST_S = 1.5
SENTENCE_ENDS = (".", "?", "!", "।")


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word; `text` has the leading space of its script where it has one."""

    start_s: float
    end_s: float
    text: str
    probability: float


Utterance = tuple[Word, ...]


def split_at_gaps(words: Iterable[Word], gap_s: float = UTTERANCE_GAP_S) -> list[Utterance]:
    """Utterances of one speaker: words in order of time, split where nothing is said for longer than `gap_s`."""
    utterances: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.start_s):
        if utterances and word.start_s - utterances[-1][-1].end_s <= gap_s:
            utterances[-1].append(word)
        else:
            utterances.append([word])
    return [tuple(utterance) for utterance in utterances]


def split_at_sentences(utterance: Utterance, least_s: float = SENTENCE_LEAST_S) -> list[Utterance]:
    """An utterance cut after its sentences, so that evidence can name one; shorter than `least_s` stays together."""
    sentences: list[list[Word]] = [[]]
    for word in utterance:
        sentences[-1].append(word)
        if word.text.rstrip().endswith(SENTENCE_ENDS) and word.end_s - sentences[-1][0].start_s >= least_s:
            sentences.append([])
    return [tuple(sentence) for sentence in sentences if sentence]


def text_of(utterance: Sequence[Word]) -> str:
    return "".join(word.text for word in utterance).strip()


def segments_of(spoken: Iterable[tuple[str, Utterance]], duration_s: float) -> list[SttSegment]:
    """Wire segments of (speaker, utterance) pairs, in order of time, within the recording, without empty ones."""
    segments = []
    for speaker, utterance in ((who, part) for who, whole in spoken for part in split_at_sentences(whole)):
        text = text_of(utterance)
        if not text:
            continue
        start_s = min(max(0.0, utterance[0].start_s), duration_s)
        end_s = min(max(start_s, max(word.end_s for word in utterance)), duration_s)
        confidence = sum(word.probability for word in utterance) / len(utterance)
        segments.append(
            SttSegment(
                start_s=round(start_s, 3),
                end_s=round(end_s, 3),
                speaker=speaker,
                text=text,
                confidence=round(min(1.0, max(0.0, confidence)), 4),
            )
        )
    return sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))


def number_speakers(spoken: Sequence[tuple[int, Utterance]]) -> list[tuple[str, Utterance]]:
    """Names speakers "0", "1", ... in the order in which they first speak."""
    names: dict[int, str] = {}
    ordered = sorted(spoken, key=lambda pair: pair[1][0].start_s)
    return [(names.setdefault(label, str(len(names))), utterance) for label, utterance in ordered]


def is_echo(utterance: Utterance, others: Iterable[Word]) -> bool:
    """Whether most of an utterance's words are said on the other channel at the same time."""
    start_s, end_s = utterance[0].start_s - 0.5, utterance[-1].end_s + 0.5
    heard = {_plain(word.text) for word in others if word.end_s >= start_s and word.start_s <= end_s}
    repeated = sum(_plain(word.text) in heard for word in utterance)
    return 2 * repeated > len(utterance)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
