"""The mediator's pure rules: cutting sound and words, choosing a language, finding a menu, telling voices apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_mediator.audio import RATE, quietest_cut
from cofi_mediator.engines.ivr import MENU_PHRASES, menu_end
from cofi_mediator.engines.lid import choose, decide
from cofi_mediator.engines.speakers import VoicePrints, assign_speakers, cluster, mel_spectrogram
from cofi_mediator.engines.utterances import (
    Word,
    is_echo,
    number_speakers,
    segments_of,
    split_at_gaps,
    split_at_sentences,
    text_of,
)
from cofi_mediator.engines.whisper import JOINT, joined_speech, placed_words


def words(text: str, start_s: float = 0.0, each_s: float = 0.3, gap_s: float = 0.0) -> tuple[Word, ...]:
    step = each_s + gap_s
    return tuple(
        Word(start_s + number * step, start_s + number * step + each_s, f" {word}", 0.9)
        for number, word in enumerate(text.split())
    )


def test_words_are_one_utterance_until_a_pause() -> None:
    spoken = words("buy hundred reliance") + words("at market", start_s=1.6)
    assert [text_of(utterance) for utterance in split_at_gaps(spoken)] == ["buy hundred reliance", "at market"]
    assert len(split_at_gaps(spoken, gap_s=1.0)) == 1


def test_sentences_become_segments_unless_they_are_very_short() -> None:
    spoken = words("Yes. Buy one hundred shares of Reliance. At what price?")
    assert [text_of(part) for part in split_at_sentences(spoken)] == [
        "Yes. Buy one hundred shares of Reliance.",
        "At what price?",
    ]
    assert len(split_at_sentences(spoken, least_s=0.0)) == 3


times = st.floats(0.0, 100.0)
any_word = st.builds(
    lambda start, length, text, probability: Word(start, start + length, text, probability),
    times,
    st.floats(0.0, 3.0),
    st.sampled_from([" buy", " sell.", " ", "", " ठीक।"]),
    st.floats(-0.5, 1.5),
)


@given(st.lists(any_word, max_size=40), st.floats(0.1, 90.0))
def test_segments_are_ordered_within_the_recording_and_never_empty(heard: list[Word], duration_s: float) -> None:
    segments = segments_of([("0", utterance) for utterance in split_at_gaps(heard)], duration_s)
    assert segments == sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))
    for segment in segments:
        assert 0.0 <= segment.start_s <= segment.end_s <= duration_s + 0.001
        assert segment.text.strip()
        assert segment.confidence is not None
        assert 0.0 <= segment.confidence <= 1.0
    assert "".join(segment.text for segment in segments).count("buy") == sum("buy" in word.text for word in heard)


def test_speakers_are_numbered_as_they_begin_to_speak() -> None:
    spoken = [(1, words("hello")), (0, words("yes", start_s=2.0)), (1, words("buy", start_s=4.0))]
    assert [name for name, _ in number_speakers(spoken)] == ["0", "1", "0"]


def test_crosstalk_is_known_by_its_words() -> None:
    said = words("buy one hundred Reliance")
    assert is_echo(words("buy one hundred reliance,", start_s=0.1), said)
    assert not is_echo(words("okay sir", start_s=0.1), said)
    assert not is_echo(words("buy one hundred reliance", start_s=30.0), said)


def test_a_window_ends_where_it_is_quiet() -> None:
    samples = np.ones((1, 20 * RATE), dtype=np.float32)
    samples[:, 15 * RATE : 16 * RATE] = 0.0
    cut = quietest_cut(samples, 10 * RATE)
    assert 15 * RATE < cut < 16 * RATE
    assert quietest_cut(samples, 10) == samples.shape[1]


def test_a_word_timed_into_the_silence_before_its_speech_is_moved_to_it() -> None:
    samples = np.zeros(10 * RATE, dtype=np.float32)
    samples[0 : int(1.6 * RATE)] = 0.5
    samples[5 * RATE : 6 * RATE] = 0.5
    spans = [(0, 2 * RATE), (5 * RATE, 6 * RATE)]
    assert len(joined_speech(samples, spans)) == 3 * RATE + 2 * JOINT
    second = 2.0 + JOINT / RATE
    heard = [Word(0.0, 1.6, " Yes.", 1.0), Word(1.6, 2.0, " And", 1.0), Word(second + 0.3, second + 0.9, " buy", 1.0)]

    placed = placed_words(heard, samples, spans)

    assert [word.text for word in placed] == [" Yes.", " And", " buy"]
    assert placed[0].end_s == pytest.approx(1.6)
    assert (placed[1].start_s, placed[1].end_s) == (pytest.approx(5.0), pytest.approx(5.3))
    assert (placed[2].start_s, placed[2].end_s) == (pytest.approx(5.3), pytest.approx(5.9))


@pytest.mark.parametrize(
    ("heard", "language"),
    [
        ([], "unknown"),
        ([{"en": 0.97, "hi": 0.01}], "en"),
        ([{"hi": 0.9, "en": 0.06}, {"hi": 0.8, "en": 0.1}], "hi"),
        ([{"hi": 0.6, "en": 0.4}, {"en": 0.9, "hi": 0.1}, {"hi": 0.4, "en": 0.6}], "hinglish"),
        ([{"ko": 0.9, "en": 0.02, "hi": 0.02}], "ko"),
        ([{"ta": 0.5, "en": 0.2, "hi": 0.2}], "ta"),
    ],
)
def test_the_language_follows_from_all_utterances(heard: list[dict[str, float]], language: str) -> None:
    found, confidence, candidates = decide(heard)
    assert found == language
    assert 0.0 <= confidence <= 1.0
    assert candidates == sorted(candidates, key=lambda pair: -pair[1])


def test_up_to_eight_utterances_are_heard_in_order_and_short_ones_only_alone() -> None:
    spans = [(second * RATE, (second + 2) * RATE) for second in range(0, 40, 4)]
    assert choose([*spans, (100 * RATE, 100 * RATE + 50)]) == spans[:8]
    assert choose([(10, 60)]) == [(10, 60)]
    assert choose([]) == []


@pytest.mark.parametrize(
    "text",
    [
        "To speak with a customer advocate, press two.",
        "For accounting and other receivables, press 3.",
        "Please hold while we try to connect you.",
        "Your call is important to us.",
        "This call may be recorded for quality.",
        "Please stay on the line.",
        "All of our representatives are currently busy.",
    ],
)
def test_a_menus_sentences_are_known(text: str) -> None:
    assert MENU_PHRASES.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "Buy one hundred shares of Reliance at market.",
        "Hold on to your Infosys position.",
        "Hello, good morning, I am calling from the dealing desk.",
        "Press conference of the company is at two.",
    ],
)
def test_a_clients_sentences_are_no_menu(text: str) -> None:
    assert MENU_PHRASES.search(text) is None


MENU = [((0.0, 3.0), "Thank you for calling."), ((4.0, 6.0), "For sales, press one.")]
TALK = [((30.0, 32.0), "Hello, this is the dealing desk."), ((33.0, 36.0), "Buy one hundred Reliance.")]


def shifted(said: list[tuple[tuple[float, float], str]], by_s: float) -> list[tuple[tuple[float, float], str]]:
    return [((start + by_s, end + by_s), text) for (start, end), text in said]


def test_a_menu_ends_after_its_last_sentence_and_the_music_that_follows() -> None:
    assert menu_end(MENU + TALK, []) == 6.0
    assert menu_end(MENU + TALK, [(7.0, 28.0)]) == 28.0
    assert menu_end(MENU + TALK, [(7.0, 9.0), (13.0, 15.0), (19.0, 21.0)]) == 21.0


def test_a_call_without_a_menu_is_not_cut() -> None:
    assert menu_end(shifted(TALK, -30.0), []) == 0.0
    assert menu_end([], []) == 0.0
    assert menu_end(shifted(TALK, -30.0), [(10.0, 40.0)]) == 0.0
    assert menu_end(shifted(TALK, -28.0), [(0.0, 2.0)]) == 0.0


def test_music_at_the_start_is_cut_and_music_later_is_not() -> None:
    assert menu_end(TALK, [(0.0, 28.0)]) == 28.0
    assert menu_end(MENU + TALK, [(40.0, 60.0)]) == 6.0


def test_words_of_a_menu_in_the_middle_of_a_call_cut_nothing() -> None:
    late = [((200.0, 203.0), "Please hold, I will connect you to the desk.")]
    assert menu_end(shifted(TALK, -29.0) + late, []) == 0.0


def voices(count: int, seed: int = 1) -> np.ndarray:
    rows = np.abs(np.random.default_rng(seed).normal(size=(count, 32))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_two_voices_are_two_clusters_and_one_is_one() -> None:
    near, far = np.zeros(32), np.zeros(32)
    near[:16], far[16:] = 1.0, 1.0
    rows = np.vstack([near + 0.1 * voices(10), far + 0.1 * voices(10, seed=2)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert len(cluster(rows, 2)) == 2
    assert len(cluster(rows[:10], 2)) == 1
    assert len(cluster(rows[:1], 2)) == 1


def test_turns_go_to_the_voice_of_their_time() -> None:
    one, two = np.eye(32, dtype=np.float32)[:2]
    prints = VoicePrints([0.0, 1.0, 4.0, 5.0], [1.6, 2.6, 5.6, 6.6], [one, one, two, two])
    spoken = words("good morning sir") + words("yes please", start_s=4.5) + words("buy", start_s=20.0)
    labelled = assign_speakers(spoken, prints, most=2)
    assert [text_of(turn) for _, turn in labelled] == ["good morning sir", "yes please", "buy"]
    first, second, nearest = (label for label, _ in labelled)
    assert first != second == nearest


def test_the_mel_spectrogram_has_a_row_each_ten_milliseconds_and_finds_the_tone() -> None:
    low, high = (np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32) for hertz in (300, 3000))
    assert mel_spectrogram(low).shape == (101, 40)
    assert mel_spectrogram(low)[50].argmax() < mel_spectrogram(high)[50].argmax()
    assert mel_spectrogram(np.zeros(10, dtype=np.float32)).shape == (1, 40)
