"""The phrases of a form, and whether one is said: what the rules engine looks for.

    client code {number}      words side by side; {number} is any spoken number, {name} one word that may name a scrip
    (place|put) the order     alternatives
    dealer: i recommend       said by the dealer; `client:` by the client
    guaranteed * returns      * is up to three words
    <no order>                a fact that the grammar of orders found (`facts.py`)
    <all of Dealer, Client>   words of both these choices are said

What belongs here: reading and matching phrases. What does not: which answer follows (`rules.py`).
A phrase that stands in the reach of a negation in the same clause is not said: `returns are not guaranteed`. A phrase
that has a negation of its own (`do not place`) is: a second one before it only stresses it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cofi_resources.llm.spoken_numbers import is_number_word, tokens_of
from cofi_resources.llm.vocabulary import HINDI_NEGATIONS, NEGATIONS, NO_SCRIP

NEGATION_REACH = 3
CLAUSE_END = re.compile(r"[.?!;,।]+(?=\s|$)")
SPEAKERS = ("dealer", "client")


class PhraseError(ValueError):
    """A phrase cannot be read; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase, read. `fact` or `all_of` is set for what stands in angle brackets, `pattern` for words."""

    pattern: re.Pattern[str] | None = None
    speaker: str | None = None
    fact: str | None = None
    all_of: tuple[str, ...] = ()
    denies: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said, as phrases are matched: tokens, for each the number of its clause, and `line`, all tokens each
    followed by one space, with numbers `#`-marked.
    """

    tokens: tuple[str, ...]
    clauses: tuple[int, ...]
    is_question: bool
    line: str

    @classmethod
    def of(cls, text: str) -> "Utterance":
        tokens: list[str] = []
        clauses: list[int] = []
        for number, clause in enumerate(CLAUSE_END.split(text)):
            said = tokens_of(clause)
            tokens += said
            clauses += [number] * len(said)
        line = "".join(f"#{token} " if is_number_word(token) else f"{token} " for token in tokens)
        return cls(tuple(tokens), tuple(clauses), text.rstrip().endswith("?"), line)


@lru_cache(maxsize=8192)
def utterance_of(text: str) -> Utterance:
    return Utterance.of(text)


@lru_cache(maxsize=8192)
def parse(phrase: str) -> Phrase:
    """A phrase as written in a form. Raises PhraseError."""
    text = phrase.strip().casefold()
    if text.startswith("<all of ") and text.endswith(">"):
        return Phrase(all_of=tuple(choice.strip() for choice in text[8:-1].split(",")))
    if text.startswith("<"):
        if not re.fullmatch(r"<[a-z ]+>", text):
            raise PhraseError(f"{phrase!r}: a fact is words in angle brackets, such as <no order>")
        return Phrase(fact=text[1:-1])
    speaker, colon, words = text.partition(":")
    if colon and speaker not in SPEAKERS:
        raise PhraseError(f"{phrase!r}: only dealer: or client: may stand before the words")
    words = words if colon else text
    pieces = re.findall(r"\{(?:name|number)\}|[()|*]|[^\s()|*{}]+|[{}]", words)
    if not pieces or any(piece in "{}" for piece in pieces):
        raise PhraseError(f"{phrase!r}: there are no words, or braces other than {{name}} and {{number}}")
    try:
        pattern = re.compile("(?<!\\S)" + "".join(_expression(piece) for piece in pieces))
    except re.error as error:
        raise PhraseError(f"{phrase!r}: {error}") from None
    if pattern.match(""):
        raise PhraseError(f"{phrase!r}: it fits where nothing is said")
    return Phrase(pattern, speaker if colon else None, denies=bool(NEGATIONS & set(tokens_of(words))))


def _expression(piece: str) -> str:
    """A piece of a phrase over tokens that are each followed by one space; numbers are `#`-marked tokens."""
    match piece:
        case "(":
            return "(?:"
        case ")" | "|":
            return piece
        case "*":
            return r"(?:\S+ ){0,3}"
        case "{number}":
            return r"(?:#\S+ )+(?:and (?:#\S+ )+)?"
        case "{name}":
            return r"(?:(?!(?:" + "|".join(sorted(map(re.escape, NO_SCRIP))) + r") )[^#\s]\S* )"
    return "".join(f"#?{re.escape(token)} " for token in tokens_of(piece))


def is_said(phrase: Phrase, utterance: Utterance) -> bool:
    """Whether the words of a phrase stand in an utterance and are not denied there. Facts are never said."""
    if phrase.pattern is None:
        return False
    line = utterance.line
    for found in phrase.pattern.finditer(line):
        start, end = line.count(" ", 0, found.start()), line.count(" ", 0, found.end())
        if phrase.denies or not is_denied(utterance, start, end):
            return True
    return False


def is_denied(utterance: Utterance, start: int, end: int) -> bool:
    """Whether a negation in the same clause reaches the tokens from `start` to `end`."""
    tokens, clauses = utterance.tokens, utterance.clauses
    before = range(max(0, start - NEGATION_REACH), start)
    after = range(end, min(len(tokens), end + NEGATION_REACH))
    return any(tokens[at] in NEGATIONS and clauses[at] == clauses[start] for at in before) or any(
        tokens[at] in HINDI_NEGATIONS and clauses[at] == clauses[end - 1] for at in after
    )


def check_phrases(phrases: Mapping[str, Sequence[str]], facts: Collection[str]) -> None:
    """Whether all phrases of a question can be read. Raises PhraseError for the first that cannot."""
    choices = {choice.casefold() for choice in phrases}
    for phrase in (one for written in phrases.values() for one in written):
        read = parse(phrase)
        if read.fact is not None and read.fact not in facts:
            raise PhraseError(f"{phrase!r}: the facts are {', '.join(f'<{name}>' for name in facts)}")
        if not choices.issuperset(read.all_of):
            raise PhraseError(f"{phrase!r}: it names a choice that has no phrases")
    if phrases and not any(not written for written in phrases.values()):
        raise PhraseError("one choice needs an empty list: it is the answer where nothing else fits")
