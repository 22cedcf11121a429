"""A transcript too long for the model, worked in overlapping parts and merged again. Nothing is cut off.

What belongs here: numbered lines, the estimate of tokens, the cut, and the rules of merging; all pure. What does not:
asking any model.
Decision: a part ends where an utterance ends, and the next begins some utterances earlier, so that a question and its
answer, or an order and its read-back, stand together in one part. An utterance too long by itself is several lines.

The rules of merging:
- answers: the first choice, in the question's order, that any part gave, so that what was found in one part beats what
  was not found in another; NA counts only if all parts say so, wherever it stands among the choices; where parts
  disagree and the question has a choice `Both ...`, that one. The evidence is the earliest that was given for it.
- trades: all that the parts gave; the same trade in two parts (the overlap) is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cofi_resources.errors import ConfigError
from cofi_resources.records import Answer, Conversation, Question, SpokenTrade

OVERLAP_LINES = 4
LINE_TOKENS = 8
"""What a line's number and speaker take."""


@dataclass(frozen=True, slots=True)
class Line:
    """An utterance, or a piece of one, as a model sees it. `segment` is the utterance's number in the transcript."""

    segment: int
    speaker: str
    text: str


def estimated_tokens(text: str) -> int:
    """More tokens than any tokeniser in use makes of a text: one for each non-Latin letter, one for 2.5 others.

    English takes about 4 characters a token, digits up to one each, Devanagari up to 1.5 tokens a letter in old models.
    """
    plain = sum(character.isascii() for character in text)
    digits = sum(character.isdigit() for character in text)
    return int((plain - digits) / 2.5) + digits + int(1.5 * (len(text) - plain)) + 1


def lines_of(conversation: Conversation, most_tokens: int) -> list[Line]:
    """The transcript's lines; an utterance over `most_tokens` is cut between words, and within a word as long."""
    return [
        Line(number, segment.speaker, piece)
        for number, segment in enumerate(conversation.segments)
        for piece in _pieces(" ".join(segment.text.split()), most_tokens)
        if piece
    ]


def parts_of(conversation: Conversation, most_tokens: int) -> list[list[Line]]:
    """The lines in parts of at most `most_tokens` (estimated), each beginning OVERLAP_LINES before the last one's end.

    A transcript that fits is one part; an empty one has none. Raises ConfigError where the model has no room at all.
    """
    if most_tokens < 8 * LINE_TOKENS:
        raise ConfigError(
            "LLM_CONTEXT_TOKENS is too small: instructions and question leave no room for a transcript; raise it"
        )
    # A line takes a sixth of the room at most, so that the overlap never fills a part.
    lines = lines_of(conversation, most_tokens // 6 - LINE_TOKENS)
    parts: list[list[Line]] = []
    start = 0
    while start < len(lines):
        end, room = start, most_tokens
        while end < len(lines) and (cost := _cost(lines[end])) <= room:
            end, room = end + 1, room - cost
        parts.append(lines[start:end])
        if end == len(lines):
            break
        start = max(start + 1, end - OVERLAP_LINES)
    return parts


def merged_answer(question: Question, given: Sequence[Answer]) -> Answer:
    """One answer out of one for each part (see the module's rules). `given` holds at least one."""
    found = {answer.answer for answer in given}
    said = [choice for choice in question.choices if choice in found and choice.casefold() != "na"]
    both = next((choice for choice in question.choices if choice.casefold().startswith("both")), None)
    if not said:
        return given[0]
    choice = both if both is not None and len(said) > 1 else said[0]
    support = [answer for answer in given if answer.answer == choice] or [one for one in given if one.answer in said]
    with_evidence = [answer for answer in support if answer.evidence is not None]
    return replace((with_evidence or support)[0], answer=choice)


def merged_trades(given: Sequence[Sequence[SpokenTrade]]) -> list[SpokenTrade]:
    """The trades of all parts, each once."""
    kept: dict[SpokenTrade, SpokenTrade] = {}
    for trade in (one for part in given for one in part):
        kept.setdefault(replace(trade, script_name=trade.script_name.casefold(), evidence=None), trade)
    return list(kept.values())


def _cost(line: Line) -> int:
    return LINE_TOKENS + estimated_tokens(line.text)


def _pieces(text: str, most_tokens: int) -> Iterator[str]:
    while estimated_tokens(text) > most_tokens:
        cut = _longest_prefix(text, most_tokens)
        space = text.rfind(" ", 1, cut + 1)
        cut = space if space > 0 else cut
        yield text[:cut]
        text = text[cut:].lstrip()
    yield text


def _longest_prefix(text: str, most_tokens: int) -> int:
    """How many characters fit: at least one. The estimate grows with the text, so halving finds it."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimated_tokens(text[:middle]) <= most_tokens else (low, middle - 1)
    return low
