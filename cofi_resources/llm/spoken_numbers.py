"""Words and numbers as people say them and as recognisers write them, read from text.

What belongs here: pure reading of words and numbers. What does not: what a number means in a call.
A recogniser writes the same price as `2,450`, `2450`, `24 50` or `twenty four fifty`; all are the same number here.
"""

import re
from collections.abc import Iterator, Sequence

UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
# The Hindi numbers that orders are given in, romanised and in Devanagari.
HINDI = {
    "ek": 1, "teen": 3, "char": 4, "chaar": 4, "paanch": 5, "panch": 5, "chhe": 6, "saat": 7, "aath": 8, "nau": 9,
    "das": 10, "bees": 20, "pachees": 25, "tees": 30, "chalis": 40, "pachas": 50, "pachaas": 50,
    "एक": 1, "तीन": 3, "चार": 4, "पांच": 5, "पाँच": 5, "छह": 6, "सात": 7, "आठ": 8, "नौ": 9, "दस": 10,
    "बीस": 20, "पच्चीस": 25, "तीस": 30, "चालीस": 40, "पचास": 50,
}  # fmt: skip
SCALES = {
    "hundred": 100, "thousand": 1000, "lakh": 100_000, "lakhs": 100_000, "lac": 100_000, "crore": 10_000_000,
    "sau": 100, "hazaar": 1000, "hazar": 1000, "सौ": 100, "हजार": 1000, "हज़ार": 1000, "लाख": 100_000,
}  # fmt: skip
VALUES = {**UNITS, **TENS, **HINDI}

TWO_OR_GIVE = ("do", "दो")
"""Hindi for two, and for give (`kar do`): a number only before a scale, as in `do sau`."""

LETTERS = "\u0900-\u0963\u0966-\u0dff"
"""The Indian scripts without their full stops. Their vowel signs are no letters to a regular expression."""

TOKEN = re.compile(rf"\d[\d,]*(?:\.\d+)?|[^\W\d_{LETTERS}]+(?:'[^\W\d_]+)?|(?:(?!\d)[{LETTERS}])+")
LONGEST_RUN = 9


def tokens_of(text: str) -> list[str]:
    """Words and numerals of a text, in lower case; `2,450.50` is one token, `2450.50`."""
    return [_plain(token) for token in TOKEN.findall(text.lower().replace("\u2019", "'"))]


def _plain(token: str) -> str:
    return token.replace(",", "") if token[0].isdecimal() else token


def is_number_word(token: str) -> bool:
    return token[0].isdecimal() or token in VALUES or token in SCALES


def numbers_in(text: str) -> frozenset[float]:
    """Every number that can be read from a text, taking each run of number words in every sensible way."""
    found: set[float] = set()
    for run in _runs(tokens_of(text)):
        for start in range(len(run)):
            for end in range(start + 1, min(len(run), start + LONGEST_RUN) + 1):
                # `four` of `four hundred`, and `hundred` alone, are no numbers that anybody said.
                cuts_a_scale = (start and run[start] in SCALES) or (end < len(run) and run[end] in SCALES)
                if not cuts_a_scale:
                    found.update(_readings(run[start:end]))
    return frozenset(found)


def run_at(tokens: Sequence[str], start: int) -> int:
    """Where the run of number words that begins at `start` ends; `start` itself if none begins there."""
    end = start
    while end < len(tokens):
        token = tokens[end]
        following = tokens[end + 1] if end + 1 < len(tokens) else ""
        in_between = end > start and bool(following) and is_number_word(following)
        # `two hundred and fifty` is one number; `at 450 and 100 shares` holds two.
        joins = in_between and (token == "point" or (token == "and" and tokens[end - 1] in SCALES))
        says_two = token in TWO_OR_GIVE and following in SCALES
        if not (is_number_word(token) or joins or says_two):
            break
        end += 1
    return end


def number_of(run: Sequence[str]) -> float | None:
    """What a whole run of number words says; None if it is no one number."""
    return next(_readings(run), None) if run else None


def _runs(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Stretches of number words; `and` and `point` belong to one only between two of them."""
    position = 0
    while position < len(tokens):
        end = run_at(tokens, position)
        if end > position:
            yield list(tokens[position:end])
        position = max(end, position + 1)


def _readings(run: Sequence[str]) -> Iterator[float]:
    if run[0] in ("and", "point") or run[-1] in ("and", "point"):
        return
    if "point" in run:
        cut = run.index("point")
        whole, digits = number_of(run[:cut]), _digits(run[cut + 1 :])
        if whole is not None and digits:
            yield float(f"{int(whole)}.{digits}")
        return
    words = [word for word in run if word != "and"]
    total = _sum(words)
    if total is not None:
        yield total
    joined = _joined(words)
    if joined is not None:
        yield joined


def _value(word: str) -> float | None:
    if word[0].isdecimal():
        return float(word)
    return 2.0 if word in TWO_OR_GIVE else VALUES.get(word)


def _sum(words: Sequence[str]) -> float | None:
    """`two thousand four hundred fifty` -> 2450; None where the words do not add up to one number."""
    total, part, last, last_scale = 0.0, 0.0, float("inf"), float("inf")
    for word in words:
        if word in SCALES:
            scale = SCALES[word]
            if scale == 100:
                part = (part or 1) * scale
            elif scale >= last_scale:
                return None
            else:
                total, part, last_scale = total + (part or 1) * scale, 0.0, scale
            last = scale
            continue
        value = _value(word)
        if value is None or (part and value >= last) or (part and part % 100 and value >= 10):
            return None
        part, last = part + value, value if value < 10 or not word[0].isdecimal() else 10
    return total + part


def _joined(words: Sequence[str]) -> float | None:
    """`twenty four fifty` -> 2450, `two fifty` -> 250, `24 50` -> 2450: two-digit groups said one after the other."""
    groups: list[int] = []
    for word in words:
        value = _value(word)
        if value is None or value != int(value) or (groups and value > 99):
            return None
        if groups and word in UNITS and 0 < value < 10 and groups[-1] in TENS.values():
            groups[-1] += int(value)
        else:
            groups.append(int(value))
    if len(groups) < 2 or groups[0] == 0 or any(group < 10 for group in groups[1:]):
        return None
    return float("".join(str(group) for group in groups))


def _digits(words: Sequence[str]) -> str:
    """The digits after a point: `five zero` -> `50`, `75` -> `75`, `seventy five` -> `75`."""
    if all(word in UNITS and UNITS[word] < 10 for word in words):
        return "".join(str(UNITS[word]) for word in words)
    value = _sum(words)
    return "" if value is None else f"{value:g}".replace(".", "")
