"""A transcript too long for the model is worked in parts, and nothing is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_resources.errors import ConfigError
from cofi_resources.llm.parts import OVERLAP_LINES, estimated_tokens, merged_answer, merged_trades, parts_of
from cofi_resources.records import Answer, Conversation, Evidence, Question, Segment, SpokenTrade

UTTERANCES = st.lists(st.text("abc 12 हिन्दी", min_size=1, max_size=300), max_size=40)


def conversation_of(texts: list[str]) -> Conversation:
    return Conversation("en", tuple(Segment(float(at), at + 1.0, str(at % 2), text) for at, text in enumerate(texts)))


@given(UTTERANCES, st.integers(120, 2000))
def test_every_word_of_every_utterance_is_in_some_part_and_every_part_fits(texts: list[str], room: int) -> None:
    conversation = conversation_of(texts)
    parts = parts_of(conversation, room)
    lines = list(dict.fromkeys(line for part in parts for line in part))
    for number, segment in enumerate(conversation.segments):
        seen = "".join(line.text for line in lines if line.segment == number)
        assert set("".join(segment.text.split())) == set("".join(seen.split()))
    for part in parts:
        assert part
        assert sum(estimated_tokens(line.text) for line in part) <= room
        assert [line.segment for line in part] == sorted(line.segment for line in part)


def test_a_transcript_that_fits_is_one_part_and_silence_none() -> None:
    assert len(parts_of(conversation_of(["Hello."] * 10), 2000)) == 1
    assert parts_of(conversation_of([]), 2000) == []


def test_parts_overlap_so_that_an_order_and_its_read_back_stay_together() -> None:
    parts = parts_of(conversation_of([f"Utterance number {at} of the call." for at in range(60)]), 300)
    assert len(parts) > 2
    for before, after in pairwise(parts):
        assert list(before[-OVERLAP_LINES:]) == list(after[:OVERLAP_LINES])


def test_one_endless_utterance_is_cut_between_words_and_whole_again_when_joined() -> None:
    text = " ".join(f"word{at}" for at in range(2000))
    parts = parts_of(conversation_of([text]), 400)
    pieces = list(dict.fromkeys(line.text for part in parts for line in part))
    assert " ".join(pieces) == text


def test_a_model_without_room_for_any_transcript_is_a_matter_of_settings() -> None:
    with pytest.raises(ConfigError, match="LLM_CONTEXT_TOKENS"):
        parts_of(conversation_of(["Hello."]), 10)


def question(*choices: str) -> Question:
    return Question(1, "q", "Q", "?", choices)


def answer(text: str, segment: int | None = None) -> Answer:
    return Answer(1, text, None, None if segment is None else Evidence("x", segment, 0.0, 1.0))


def test_what_one_part_found_beats_what_another_did_not() -> None:
    merged = merged_answer(question("YES", "NO", "NA"), [answer("NO"), answer("NA"), answer("YES", 9)])
    assert merged == answer("YES", 9)


def test_na_counts_only_if_all_parts_say_so() -> None:
    assert merged_answer(question("NA", "NO"), [answer("NA"), answer("NO")]).answer == "NO"
    assert merged_answer(question("YES", "NA"), [answer("NA"), answer("NA")]).answer == "NA"


def test_two_different_choices_make_both_where_there_is_a_both() -> None:
    who = question("Dealer", "Client", "Both client & dealer", "NA")
    assert merged_answer(who, [answer("Client", 1), answer("NA"), answer("Dealer", 8)]).answer == "Both client & dealer"


def test_the_earliest_evidence_for_the_answer_is_kept() -> None:
    merged = merged_answer(question("YES", "NO"), [answer("NO", 0), answer("YES"), answer("YES", 5), answer("YES", 9)])
    assert merged == answer("YES", 5)


def test_a_trade_of_the_overlap_is_one_trade() -> None:
    first = SpokenTrade("WIPRO", "BUY", 50.0, 450.0, evidence=Evidence("x", 3, 0.0, 1.0))
    again = SpokenTrade("Wipro", "BUY", 50.0, 450.0, evidence=Evidence("x", 3, 0.0, 1.0))
    other = SpokenTrade("WIPRO", "SELL", 50.0, 450.0)
    assert merged_trades([[first], [again, other]]) == [first, other]
