"""Whether a text speaks of a scrip, however a recogniser spelled it.

What belongs here: comparing names with words. What does not: finding names where none are known (`orders.py`).
"""

from collections.abc import Sequence

from rapidfuzz import fuzz

from cofi_resources.llm.spoken_numbers import tokens_of
from cofi_resources.llm.vocabulary import words
from cofi_resources.records import BookedTrade

SIMILARITY = 80.0
"""Least similarity (0..100) of what is said and the name: recognisers spell names as they hear them."""

GENERIC = words(
    "limited ltd industries company corporation corp technologies services enterprises the and of shares share "
    "equity ind inc"
)
"""Words of company names that nobody says, or that many names share."""


def similarity(text: str, name: str) -> float:
    """0..100: how nearly a stretch of the text is the name. Its generic words need not be said.

    All other words must be: `Tata Steel` is not said by `Tata Motors`.
    """
    spoken = tokens_of(text)
    named = tokens_of(name)
    telling = [word for word in named if word not in GENERIC] or named
    if not telling:
        return 0.0
    joined = "".join(telling)
    widths = range(1, len(telling) + 2)
    windows = ("".join(spoken[at : at + width]) for width in widths for at in range(len(spoken) - width + 1))
    return max((fuzz.ratio(joined, window, score_cutoff=SIMILARITY) for window in windows), default=0.0)


def speaks_of(text: str, name: str) -> bool:
    return similarity(text, name) >= SIMILARITY


def booked_name(text: str, booked: Sequence[BookedTrade]) -> str | None:
    """The booked scrip that a text speaks of most clearly; None if of none."""
    scored = [
        (max(similarity(text, trade.script_name), similarity(text, trade.symbol)), trade.script_name)
        for trade in booked
    ]
    best = max(scored, default=(0.0, ""), key=lambda pair: pair[0])
    return best[1] if best[0] >= SIMILARITY else None
